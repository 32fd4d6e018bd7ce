package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream/eventstreamapi"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/posternhq/postern/deploy/simaws/sdktest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

const eventsPayload = "STREAMING-AWS4-HMAC-SHA256-EVENTS"

// hears stands for Amazon Transcribe: it checks each event's signature with the
// SDK's own code and answers it at once.
func hears(t *testing.T) func(*proxy.Config, *ststest.AWS) {
	return func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(w http.ResponseWriter, r *http.Request, k ststest.Key) {
			if r.ProtoMajor != 2 {
				t.Errorf("AWS was spoken to in %s", r.Proto)
			}
			signer := v4.NewStreamSigner(aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret}, "transcribe", "us-east-1", sdktest.Seed(t, r.Header))
			rc := http.NewResponseController(w)
			rc.Flush()
			for {
				m, err := eventstream.NewDecoder().Decode(r.Body, nil)
				if err == io.EOF {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				date := m.Headers.Get(eventstreamapi.DateHeader)
				var headers bytes.Buffer
				if err := eventstream.EncodeHeaders(&headers, eventstream.Headers{{Name: eventstreamapi.DateHeader, Value: date}}); err != nil {
					t.Error(err)
				}
				want, err := signer.GetSignature(r.Context(), headers.Bytes(), m.Payload, date.Get().(time.Time))
				if err != nil {
					t.Error(err)
				}
				if got := m.Headers.Get(eventstreamapi.ChunkSignatureHeader).Get().([]byte); !bytes.Equal(got, want) {
					t.Errorf("AWS would refuse an event signed %x, want %x", got, want)
				}
				fmt.Fprintf(w, "heard %d\n", len(m.Payload))
				rc.Flush()
			}
		}
	}
}

// speaks opens a conversation through a helper: its answer, what says a message, and what
// ends it.
func (r *rig) speaks(s *events.SessionStarted) (resp *http.Response, say func([]byte), end func()) {
	r.t.Helper()
	return r.speaksAs(s, nil)
}

// speaksAs is speaks with other credentials than the helper's, where they are given.
func (r *rig) speaksAs(s *events.SessionStarted, as *aws.Credentials) (resp *http.Response, say func([]byte), end func()) {
	t := r.t
	t.Helper()
	ctx := t.Context()
	client, creds := r.helped(s)
	if as != nil {
		creds = *as
	}
	in, out := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://transcribestreaming.us-east-1.amazonaws.com/stream-transcription", in)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/vnd.amazon.eventstream")
	req.Header.Set("X-Amz-Content-Sha256", eventsPayload)
	if err := v4.NewSigner().SignHTTP(ctx, creds, req, eventsPayload, "transcribe", "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	signer := v4.NewStreamSigner(creds, "transcribe", "us-east-1", sdktest.Seed(t, req.Header))
	resp, err = client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close(); resp.Body.Close() })
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s %s\n%s", resp.Proto, resp.Status, text)
	}
	return resp, func(message []byte) {
		t.Helper()
		if _, err := out.Write(sdktest.SignedEvent(t, signer, message, time.Now().UTC())); err != nil {
			t.Fatal(err)
		}
	}, func() { out.Close() }
}

// A conversation in signed events over HTTP/2: each is signed anew as it passes,
// and answered before the next is sent. So it is with the credentials of a role that
// the user assumed, which the proxy verifies, not the helper.
func TestEventStream(t *testing.T) {
	for _, assumed := range []bool{false, true} {
		t.Run(fmt.Sprintf("assumed %v", assumed), func(t *testing.T) {
			r := newRig(t, hears(t))
			s := r.session()
			var as *aws.Credentials
			if assumed {
				creds, err := r.assume(s, helperKey)
				if err != nil {
					t.Fatal(err)
				}
				as = &creds
			}
			resp, say, end := r.speaksAs(s, as)
			for i := range 50 {
				said := bytes.Repeat([]byte{'a'}, 500*i+1)
				say(said)
				var heard int
				if _, err := fmt.Fscanf(resp.Body, "heard %d\n", &heard); err != nil || heard != len(said) {
					t.Fatalf("event %d: heard %d of %d bytes, %v", i, heard, len(said), err)
				}
			}
			say(nil)
			end()
			if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "heard 0\n" {
				t.Errorf("the end: %q, %v", rest, err)
			}
			r.clean()
			found := false
			for _, c := range payloads[*events.AWSRequestCompleted](r.audit()) {
				if c.Operation == "AssumeRole" {
					continue
				}
				if found = true; c.Operation != "StartStreamTranscription" || c.Interrupted != "" || c.ResponseBytes < 500 || (c.AWSRoleARN == deployRole) != assumed {
					t.Errorf("%+v", c)
				}
			}
			if !found {
				t.Error("the conversation is not on record")
			}
		})
	}
}

// A client that says nothing hears of it when its conversation is cut, and when AWS has
// ended it: it need not speak first.
func TestEventStreamSilent(t *testing.T) {
	for _, c := range cuts {
		t.Run(c.name, func(t *testing.T) {
			var gone atomic.Bool
			r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
				a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
					fmt.Fprintln(w, "begun")
					http.NewResponseController(w).Flush()
					<-r.Context().Done()
					gone.Store(true)
				}
			})
			s := r.session(func(s *events.SessionStarted) {
				if c.session != nil {
					c.session(s)
				}
			})
			resp, _, _ := r.speaks(s)
			if _, err := fmt.Fscanln(resp.Body, new(string)); err != nil {
				t.Fatal(err)
			}
			c.end(r, s)
			if text, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("the conversation ends well, with %q", text)
			}
			r.eventually("AWS hears of it", gone.Load)
			r.clean()
			done := payloads[*events.AWSRequestCompleted](r.audit())
			if len(done) != 1 || done[0].Interrupted != c.interrupted || !strings.Contains(done[0].InterruptedDetail, c.detail) {
				t.Errorf("%+v", done)
			}
		})
	}
	t.Run("the client goes", func(t *testing.T) {
		var gone atomic.Bool
		r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
			a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
				gone.Store(true)
			}
		})
		resp, _, _ := r.speaks(r.session())
		resp.Body.Close()
		r.eventually("AWS hears of it", gone.Load)
		r.clean()
		done := payloads[*events.AWSRequestCompleted](r.audit())
		if len(done) != 1 || done[0].Interrupted != "client_gone" {
			t.Errorf("%+v", done)
		}
	})
	for name, end := range map[string]func(){"ended by AWS": func() {}, "broken off by AWS": func() { panic(http.ErrAbortHandler) }} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
				a.Serve = func(w http.ResponseWriter, r *http.Request, _ ststest.Key) {
					fmt.Fprintln(w, "begun")
					http.NewResponseController(w).Flush()
					end()
				}
			})
			resp, _, _ := r.speaks(r.session())
			text, err := io.ReadAll(resp.Body)
			if ended := name == "ended by AWS"; string(text) != "begun\n" || (err == nil) != ended {
				t.Errorf("%q, %v", text, err)
			}
			r.clean()
			done := payloads[*events.AWSRequestCompleted](r.audit())
			if len(done) != 1 || (done[0].Interrupted == "") != (err == nil) || done[0].Interrupted != "" && done[0].Interrupted != "upstream" {
				t.Errorf("%+v", done)
			}
		})
	}
}

// An event that somebody changed on its way goes no further than the helper.
func TestEventStreamTampered(t *testing.T) {
	r := newRig(t, func(_ *proxy.Config, a *ststest.AWS) {
		a.Serve = func(_ http.ResponseWriter, r *http.Request, _ ststest.Key) {
			if b, err := io.ReadAll(r.Body); err == nil || len(b) > 0 {
				t.Errorf("AWS got %d bytes, %v", len(b), err)
			}
		}
	})
	client, creds := r.helped(r.session())
	event := sdktest.SignedEvent(t, v4.NewStreamSigner(creds, "transcribe", "us-east-1", make([]byte, 32)), []byte("not chained to the request"), time.Now().UTC())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://transcribestreaming.us-east-1.amazonaws.com/stream-transcription", bytes.NewReader(event))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Content-Sha256", eventsPayload)
	if err := v4.NewSigner().SignHTTP(t.Context(), creds, req, eventsPayload, "transcribe", "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusForbidden || !strings.Contains(string(text), "signature of an event") {
		t.Errorf("%d %s, %v", resp.StatusCode, text, err)
	}
}
