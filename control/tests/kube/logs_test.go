package kube

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
	"time"

	"adit.test/kube/cluster"
)

// kubectl logs: all of it, and then its end.
func logs(t *testing.T, c *cluster.Cluster) {
	c.Node.Log.Reset()
	var printed strings.Builder
	for line := range 40_000 {
		fmt.Fprintf(&printed, "%07d the quick brown fox jumps over the lazy dog\n", line)
	}
	c.Node.Log.Add(printed.String())
	if result := c.Kubectl("logs", cluster.PodName); result.Code != 0 || result.Out != printed.String() {
		t.Errorf("expected %d bytes, got %d: %v", printed.Len(), len(result.Out), result)
	}
}

// kubectl logs -f: what was printed before, then each line when it is printed,
// and the end when the container ends.
func logsFollowed(t *testing.T, c *cluster.Cluster) {
	log := c.Node.Log
	log.Reset()
	log.Add("before\n")
	out, command := c.KubectlStart(t, "logs", "-f", cluster.PodName)
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	// The first line takes as long as kubectl's start.
	expectLine(t, lines, "before", cluster.CommandLimit)
	for number := range 100 {
		line := fmt.Sprintf("line %d", number)
		log.Add(line + "\n")
		expectLine(t, lines, line, 5*time.Second)
	}
	log.End()
	select {
	case line, more := <-lines:
		if more {
			t.Errorf("after the end: %q", line)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("kubectl logs -f still runs 10 s after the container ended")
	}
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
}

func expectLine(t *testing.T, lines <-chan string, expected string, within time.Duration) {
	t.Helper()
	select {
	case line, open := <-lines:
		if line != expected {
			t.Fatalf("expected %q, got %q (still following: %v)", expected, line, open)
		}
	case <-time.After(within):
		t.Fatalf("%q did not arrive within %v", expected, within)
	}
}
