package cluster

import (
	"fmt"
	"os"
	"path/filepath"

	authentication "k8s.io/api/authentication/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"adit.test/counterparts/harness"
)

// As in Kubernetes' own recipe ("Set up Konnectivity service").
const (
	agentNamespace = "kube-system"
	agentAccount   = "konnectivity-agent"
	audience       = "system:konnectivity-server"
	serverUser     = "system:konnectivity-server"
)

// tokenFile holds the agents' token, once createCredentials has made it.
func (c *Cluster) tokenFile() string { return filepath.Join(c.dir, "token") }

// tokenFlags have adit's server ask kube-apiserver, which does not run yet,
// about agents' tokens, as a user that may do nothing else.
func (c *Cluster) tokenFlags() []string {
	c.t.Helper()
	cert, key := harness.WritePair(c.t, c.dir, "konnectivity-server", c.ca.Client(c.t, "none", serverUser))
	config := api.NewConfig()
	config.Clusters["kubernetes"] = &api.Cluster{Server: c.host(), CertificateAuthorityData: c.ca.PEM()}
	config.AuthInfos[serverUser] = &api.AuthInfo{ClientCertificate: cert, ClientKey: key}
	config.Contexts["here"] = &api.Context{Cluster: "kubernetes", AuthInfo: serverUser}
	config.CurrentContext = "here"
	path := filepath.Join(c.dir, "konnectivity-server.conf")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		c.t.Fatal(err)
	}
	return []string{
		"--agent-namespace", agentNamespace, "--agent-service-account", agentAccount,
		"--authentication-audience", audience, "--kubeconfig", path, "--enable-lease-controller",
	}
}

// Lease is what the server says of itself, where it was asked to.
func (c *Cluster) Lease() (*coordination.Lease, error) {
	leases := c.Client.CoordinationV1().Leases(agentNamespace)
	found, err := leases.List(c.t.Context(), metav1.ListOptions{LabelSelector: "k8s-app=konnectivity-server"})
	if err != nil {
		return nil, err
	}
	if len(found.Items) != 1 {
		return nil, fmt.Errorf("%d leases", len(found.Items))
	}
	return &found.Items[0], nil
}

// allowLeases lets the server do with leases what Konnectivity's may.
func (c *Cluster) allowLeases() {
	t, ctx, name := c.t, c.t.Context(), metav1.ObjectMeta{Name: serverUser}
	t.Helper()
	role := &rbac.Role{ObjectMeta: name, Rules: []rbac.PolicyRule{{
		APIGroups: []string{coordination.GroupName}, Resources: []string{"leases"},
		Verbs: []string{"create", "get", "update", "list", "delete"},
	}}}
	binding := &rbac.RoleBinding{
		ObjectMeta: name,
		RoleRef:    rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "Role", Name: serverUser},
		Subjects:   []rbac.Subject{{APIGroup: rbac.GroupName, Kind: rbac.UserKind, Name: serverUser}},
	}
	harness.MustWithin(t, startLimit, "the role for leases", func() error {
		_, err := c.Client.RbacV1().Roles(agentNamespace).Create(ctx, role, metav1.CreateOptions{})
		return err
	})
	if _, err := c.Client.RbacV1().RoleBindings(agentNamespace).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// createCredentials lets the server have tokens reviewed, and writes one of the
// agents' service account.
func (c *Cluster) createCredentials() {
	t, ctx := c.t, c.t.Context()
	t.Helper()
	binding := &rbac.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: serverUser},
		RoleRef:    rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: "system:auth-delegator"},
		Subjects:   []rbac.Subject{{APIGroup: rbac.GroupName, Kind: rbac.UserKind, Name: serverUser}},
	}
	if _, err := c.Client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.allowLeases()
	accounts := c.Client.CoreV1().ServiceAccounts(agentNamespace)
	// The namespace is made by kube-apiserver itself, shortly after its start.
	harness.MustWithin(t, startLimit, "the agents' service account", func() error {
		account := &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: agentAccount}}
		_, err := accounts.Create(ctx, account, metav1.CreateOptions{})
		return err
	})
	seconds := int64(3600)
	request := &authentication.TokenRequest{Spec: authentication.TokenRequestSpec{
		Audiences: []string{audience}, ExpirationSeconds: &seconds,
	}}
	answer, err := accounts.CreateToken(ctx, agentAccount, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.tokenFile(), []byte(answer.Status.Token), 0o600); err != nil {
		t.Fatal(err)
	}
}
