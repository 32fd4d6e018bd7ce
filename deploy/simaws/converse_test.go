package simaws

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"

	"github.com/posternhq/postern/deploy/simaws/sdktest"
)

// The AWS SDK for Go converses: each event is verified, and answered before the next.
func TestConversation(t *testing.T) {
	f := newSim(t, nil)
	client := bedrockruntime.NewFromConfig(f.aws())
	stream := sdktest.Converse(t, client)
	defer stream.Close()
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
}

func audio(t *testing.T, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	err := eventstream.NewEncoder().Encode(&out, eventstream.Message{Payload: []byte(text), Headers: eventstream.Headers{
		{Name: ":message-type", Value: eventstream.StringValue("event")}, {Name: ":event-type", Value: eventstream.StringValue("AudioEvent")},
		{Name: ":content-type", Value: eventstream.StringValue("application/octet-stream")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// What the SDK's signer signs is taken, and what is not so signed is refused.
func TestEventSignatures(t *testing.T) {
	f := newSim(t, nil)
	for _, tc := range []struct {
		name   string
		change func(events [][]byte)
		late   time.Duration
		want   []string // of the answer's events, their types
	}{
		{"as signed", nil, 0, []string{"TranscriptEvent", "TranscriptEvent"}},
		{"an event changed", func(e [][]byte) {
			m, err := eventstream.NewDecoder().Decode(bytes.NewReader(e[1]), nil)
			if err != nil {
				t.Fatal(err)
			}
			m.Payload = audio(t, "another")
			var out bytes.Buffer
			if err := eventstream.NewEncoder().Encode(&out, m); err != nil {
				t.Fatal(err)
			}
			e[1] = out.Bytes()
		}, 0, []string{"TranscriptEvent", "InvalidSignatureException"}},
		{"in another order", func(e [][]byte) { e[0], e[1] = e[1], e[0] }, 0, []string{"InvalidSignatureException"}},
		{"one missing", func(e [][]byte) { e[0] = nil }, 0, []string{"InvalidSignatureException"}},
		{"one twice", func(e [][]byte) { e[1] = e[0] }, 0, []string{"TranscriptEvent", "InvalidSignatureException"}},
		{"of long ago", nil, -time.Hour, []string{"InvalidSignatureException"}},
		{"without end", func(e [][]byte) { e[2] = nil }, 0, []string{"TranscriptEvent", "TranscriptEvent", "cut"}},
		{"past its end", func(e [][]byte) { e[2] = append(e[2], 0) }, 0, []string{"TranscriptEvent", "TranscriptEvent", "BadRequestException"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			creds := aws.Credentials{AccessKeyID: f.key.ID, SecretAccessKey: f.key.Secret}
			body, in := io.Pipe()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://transcribestreaming.us-east-1.amazonaws.com/stream-transcription", body)
			if err != nil {
				t.Fatal(err)
			}
			for name, v := range map[string]string{"Language-Code": "en-US", "Media-Encoding": "pcm", "Sample-Rate": "16000"} {
				req.Header.Set("X-Amzn-Transcribe-"+name, v)
			}
			req.Header.Set("X-Amz-Content-Sha256", streamingEvents)
			if err := v4.NewSigner().SignHTTP(t.Context(), creds, req, streamingEvents, "transcribe", "us-east-1", time.Now()); err != nil {
				t.Fatal(err)
			}
			signer := v4.NewStreamSigner(creds, "transcribe", "us-east-1", sdktest.Seed(t, req.Header))
			var events [][]byte
			for _, m := range [][]byte{audio(t, "one"), audio(t, "two"), nil} {
				events = append(events, sdktest.SignedEvent(t, signer, m, time.Now().Add(tc.late)))
			}
			if tc.change != nil {
				tc.change(events)
			}
			go func() {
				for _, e := range events {
					if _, err := in.Write(e); err != nil {
						break
					}
				}
				in.Close()
			}()
			answer, err := f.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if answer.StatusCode != http.StatusOK || answer.ProtoMajor != 2 || answer.Header.Get("X-Amzn-Request-Id") == "" {
				t.Fatalf("%s %s %v", answer.Proto, answer.Status, answer.Header)
			}
			var got []string
			for {
				m, err := eventstream.NewDecoder().Decode(answer.Body, nil)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					got = append(got, "cut")
					break
				}
				name := m.Headers.Get(":event-type")
				if name == nil {
					name = m.Headers.Get(":exception-type")
				}
				got = append(got, name.String())
			}
			if fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("answered by %v, want %v", got, tc.want)
			}
		})
	}
}
