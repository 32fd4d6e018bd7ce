package push

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/ocsf"
)

// Formats of a webhook's bodies.
const (
	CloudEvents = "cloudevents"
	OCSF        = "ocsf"
)

const (
	secretPrefix = "whsec_"
	// Sizes of secrets in bytes, as Standard Webhooks wants them.
	newSecret, minSecret, maxSecret = 32, 24, 64
)

// NewWebhookSecret makes a secret: "whsec_" and base64.
func NewWebhookSecret() string {
	b := make([]byte, newSecret)
	rand.Read(b) // never fails: crypto/rand
	return secretPrefix + base64.StdEncoding.EncodeToString(b)
}

// webhookKey reads a secret's text. The error does not repeat it.
func webhookKey(secret string) ([]byte, error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(secret), secretPrefix)
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < minSecret || len(key) > maxSecret {
		return nil, fmt.Errorf("secret: want %s and %d to %d bytes in base64 (https://www.standardwebhooks.com)", secretPrefix, minSecret, maxSecret)
	}
	return key, nil
}

// Signatures are the value of the header webhook-signature: one for each secret
// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
func signatures(keys [][]byte, id, timestamp string, body []byte) string {
	var out []string
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.", id, timestamp)
		mac.Write(body)
		out = append(out, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(out, " ")
}

// parcel is a request to be.
type parcel struct {
	id     string // tells it from others of the same events
	header http.Header
	body   []byte
	set    *Set // in place of both, where somebody polls
}

// packer makes what is sent of events, at a moment. What no parcel can be made of
// will never be one.
type packer interface {
	pack(ctx context.Context, es []journal.Entry, at time.Time) ([]parcel, error)
}

// webhook packs by the CloudEvents HTTP binding, in structured or batched mode
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md),
// or as OCSF.
type webhook struct {
	push    events.Push
	secrets Secrets
}

func (w *webhook) pack(_ context.Context, es []journal.Entry, at time.Time) ([]parcel, error) {
	keys, err := w.secrets.webhookKeys(at)
	if err != nil {
		return nil, err
	}
	bodies := make([][]byte, len(es))
	for i, e := range es {
		if bodies[i], err = w.body(e); err != nil {
			return nil, err
		}
	}
	contentType := map[string]string{CloudEvents: events.ContentType + "; charset=utf-8", OCSF: "application/json"}[w.push.Format]
	body, id := bodies[0], es[0].ID
	if !headerText(id) {
		id = fmt.Sprintf("%s-%d", es[0].Stream, es[0].Seq)
	}
	if w.push.Batch > 0 {
		body = append(append([]byte{'['}, bytes.Join(bodies, []byte{','})...), ']')
		id = fmt.Sprintf("%s-%d-%d", es[0].Stream, es[0].Seq, es[len(es)-1].Seq)
		if w.push.Format == CloudEvents {
			contentType = "application/cloudevents-batch+json; charset=utf-8"
		}
	}
	timestamp := strconv.FormatInt(at.Unix(), 10)
	return []parcel{{id: id, header: http.Header{
		"Content-Type":      {contentType},
		"Webhook-Id":        {id},
		"Webhook-Timestamp": {timestamp},
		"Webhook-Signature": {signatures(keys, id, timestamp, body)},
	}, body: body}}, nil
}

// headerText tells whether a header brings a text, as it is, to whoever verifies its
// signature. An event's id may be any.
func headerText(s string) bool {
	return len(s) <= 256 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func (w *webhook) body(e journal.Entry) ([]byte, error) {
	if e.ID == "" {
		return nil, fmt.Errorf("sequence %d of %s is no CloudEvent", e.Seq, e.Stream)
	}
	at := e.Place()
	if w.push.Format == OCSF {
		return ocsf.ConvertAt(e.Raw, at)
	}
	return events.Placed(e.Raw, at)
}

// Consent asks an endpoint whether it wants events of origin, which is a DNS
// name, and how many requests a minute (0: any number): section 4 of
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md.
func Consent(ctx context.Context, p events.Push, authorization, origin string) (perMinute int, err error) {
	e, err := newEndpoint(p.URL, p.CAPEM, authorization)
	if err != nil {
		return 0, err
	}
	defer e.close()
	ask := http.Header{"Webhook-Request-Origin": {origin}}
	if p.PerMinute > 0 {
		ask.Set("WebHook-Request-Rate", strconv.Itoa(p.PerMinute))
	}
	a := e.request(ctx, http.MethodOptions, ask, nil)
	if a.header == nil {
		return 0, fmt.Errorf("ask %s for its consent: %s", hostOf(p.URL), a.reason)
	}
	allowed := a.header.Get("WebHook-Allowed-Origin")
	if a.outcome != taken || allowed != "*" && !strings.EqualFold(allowed, origin) {
		return 0, fmt.Errorf("%s does not consent to events of %s: OPTIONS with WebHook-Request-Origin was %s, WebHook-Allowed-Origin %q", hostOf(p.URL), origin, a.reason, allowed)
	}
	perMinute = p.PerMinute
	if n, err := strconv.Atoi(a.header.Get("WebHook-Allowed-Rate")); err == nil && n > 0 && (perMinute == 0 || n < perMinute) {
		perMinute = n
	}
	return perMinute, nil
}

func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the endpoint"
	}
	return u.Host
}
