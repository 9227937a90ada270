package kube

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/suite"
	"adit.test/kube/cluster"
)

// 50 uses of every kind at once, each with its own contents.
func fiftyAtOnce(t *testing.T, c *cluster.Cluster) {
	const logged = "one line among many\n"
	c.Node.Log.Reset()
	c.Node.Log.Add(strings.Repeat(logged, 10_000))
	forwarded := listening(t, c, "", "port-forward", "pod/"+cluster.PodName, fmt.Sprintf(":%d", cluster.GreetingPort))
	kinds := []func(seed uint64) error{
		func(uint64) error {
			result := c.Kubectl("logs", cluster.PodName)
			return unless(result.Code == 0 && result.Out == strings.Repeat(logged, 10_000), "logs", result)
		},
		func(seed uint64) error {
			in, _ := io.ReadAll(harness.NewPayload(seed, harness.Mebibyte))
			result := c.KubectlWith(strings.NewReader(string(in)), nil,
				"exec", "-i", cluster.PodName, "--", "sh", "-c", fmt.Sprintf("cat; exit %d", seed))
			return unless(result.Code == int(seed) && result.Out == string(in), "exec", cluster.Result{Code: result.Code, Complaints: result.Complaints})
		},
		func(seed uint64) error {
			said := fmt.Sprintf("I am %d\n", seed)
			result := c.KubectlWith(strings.NewReader(said), nil, "attach", "-i", cluster.PodName)
			return unless(result.Code == 0 && result.Out == cluster.AttachGreeting+said, "attach", result)
		},
		func(seed uint64) error { return rawPayload(c, podProxy+"/", seed, harness.Mebibyte) },
		func(seed uint64) error { return rawPayload(c, serviceProxy+"/", seed, harness.Mebibyte) },
		func(seed uint64) error { return rawPayload(c, nodeProxied+"/payload/", seed, harness.Mebibyte) },
		func(seed uint64) error { return suite.ThroughForward(forwarded, seed) },
		func(seed uint64) error {
			result := createConfigMap(c, fmt.Sprintf("crowd-%d", seed), cluster.WebhookService)
			return unless(result.Code == 0 && result.Out == "webhook", "webhook", result)
		},
		func(uint64) error {
			result := c.Kubectl("logs", cluster.DeadPod)
			return unless(result.Code != 0 && strings.Contains(result.Complaints, "connection refused"), "dead kubelet", result)
		},
		func(seed uint64) error {
			result := c.Kubectl("exec", cluster.PodName, "--", "sh", "-c", fmt.Sprintf("sleep 1; exit %d", seed))
			return unless(result.Code == int(seed), "exec without input", result)
		},
	}
	start := make(chan struct{})
	var crowd errgroup.Group
	for use := range 50 {
		crowd.Go(func() error {
			<-start
			if err := kinds[use%len(kinds)](uint64(use)); err != nil {
				return fmt.Errorf("use %d: %w", use, err)
			}
			return nil
		})
	}
	close(start)
	if err := crowd.Wait(); err != nil {
		t.Error(err)
	}
}

// unless makes an error of a result that is not as it should be.
func unless(right bool, what string, result cluster.Result) error {
	if right {
		return nil
	}
	return fmt.Errorf("%s: %v", what, result)
}
