package broker

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/events"
)

// A consumer is made, seen, measured and ended by who may; all of it is recorded.
func TestConsumers(t *testing.T) {
	b, j, _ := demoBroker(t)
	ctx := t.Context()
	admin, alice := as(t, b, "admin"), as(t, b, "alice")
	in := api.NewConsumer{Name: "siem", Filter: "access.role.*"}
	if _, err := alice.NewConsumer(ctx, in); code(err) != api.CodeDenied {
		t.Errorf("alice adds: %v", err)
	}
	if _, err := j.PlaceOf(ctx, events.Access, "siem"); err == nil {
		t.Error("the durable of a refused consumer is there")
	}
	if _, err := admin.NewConsumer(ctx, in); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Consumers(ctx); code(err) != api.CodeDenied {
		t.Errorf("alice lists: %v", err)
	}
	if err := alice.DeleteConsumer(ctx, "siem"); code(err) != api.CodeDenied {
		t.Errorf("alice deletes: %v", err)
	}
	list, err := admin.Consumers(ctx)
	if err != nil || len(list) != 1 || list[0].Pending != 4 || list[0].By != "admin" || list[0].Fault != "" {
		t.Errorf("consumers %+v, %v; want one with the four roles before it", list, err)
	}
	if got := metrics(t, b, "alice"); !strings.Contains(got, `"code":"denied"`) {
		t.Errorf("alice measures: %s", got)
	}
	if got, want := metrics(t, b, "admin"), "\npostern_consumer_pending_events{consumer=\"siem\",stream=\"ACCESS\"} 4\n"; !strings.Contains(got, want) {
		t.Errorf("metrics without %q:\n%s", want, got)
	}
	// A durable that somebody else took away is no reason to fail.
	if err := j.DeleteConsumer(ctx, events.Access, "siem"); err != nil {
		t.Fatal(err)
	}
	if list, err = admin.Consumers(ctx); err != nil || len(list) != 1 || list[0].Fault == "" {
		t.Errorf("consumers %+v, %v; want a fault", list, err)
	}
	if got, want := metrics(t, b, "admin"), "\npostern_consumer_known{consumer=\"siem\",stream=\"ACCESS\"} 0\n"; !strings.Contains(got, want) || strings.Contains(got, "pending_events{") {
		t.Errorf("metrics:\n%s", got)
	}
	if err := admin.DeleteConsumer(ctx, "siem"); err != nil {
		t.Error(err)
	}
	if _, err := admin.NewConsumer(ctx, in); code(err) != api.CodeConflict {
		t.Errorf("the name again: %v", err)
	}
	want := []*events.ConsumerCreated{{Name: "siem", Stream: events.Access, Filter: "access.role.*", By: "admin"}}
	if d := cmp.Diff(want, find[*events.ConsumerCreated](history(t, j))); d != "" {
		t.Errorf("recorded (-want +got):\n%s", d)
	}
	if n := len(find[*events.ConsumerDeleted](history(t, j))); n != 1 {
		t.Errorf("%d ends recorded", n)
	}
}

// metrics is what a scraper with a user's identity gets.
func metrics(t *testing.T, b *Broker, user string) string {
	t.Helper()
	id, err := b.IssueIdentity(t.Context(), user, 0)
	if err != nil {
		t.Fatal(err)
	}
	var cfg *tls.Config
	if id, err = api.ParseIdentity(id.PEM()); err == nil {
		cfg, err = id.TLSConfig()
	}
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: cfg}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("https://" + b.Addr() + "/v1/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
