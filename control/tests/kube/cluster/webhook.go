package cluster

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"testing"

	admission "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"adit.test/counterparts/harness"
)

// Names of what the webhook looks at.
const (
	// WebhookService is the service by which kube-apiserver knows the webhook.
	WebhookService = "webhook"
	// RefusedName is the name of a config map that the webhook refuses.
	RefusedName = "refused"
	// RefusalReason is why.
	RefusalReason = "the webhook behind the tunnel says no"
)

// Webhook is a mutating admission webhook: it marks objects, and refuses some.
type Webhook struct {
	// Asked counts the admissions.
	Asked atomic.Int64
}

func newWebhook(t testing.TB, net *namespace, ca *harness.CA) *Webhook {
	t.Helper()
	webhook := new(Webhook)
	serving := ca.Serving(t, []string{WebhookService + ".default.svc"}, nil)
	serve(t, net, WebhookAddress, WebhookPort, webhook, &tls.Config{Certificates: []tls.Certificate{serving}})
	return webhook
}

// ServeHTTP answers an admission review.
func (webhook *Webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	webhook.Asked.Add(1)
	var review admission.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, "no admission review", http.StatusBadRequest)
		return
	}
	patch := admission.PatchTypeJSONPatch
	review.Response = &admission.AdmissionResponse{
		UID: review.Request.UID, Allowed: true, PatchType: &patch,
		Patch: []byte(`[{"op": "add", "path": "/data", "value": {"marked-by": "webhook"}}]`),
	}
	if review.Request.Name == RefusedName {
		review.Response = &admission.AdmissionResponse{
			UID: review.Request.UID, Result: &metav1.Status{Message: RefusalReason, Code: http.StatusForbidden},
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}
