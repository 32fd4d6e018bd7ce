package simaws

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

// frame writes one event of an answer that goes on, at once. Of JSON-RPC the first is
// the "initial-response": https://smithy.io/2.0/aws/amazon-eventstream.html
func (c *call) frame(event string, payload any) error {
	return c.message("event", event, payload)
}

func (c *call) message(kind, name string, payload any) error {
	text, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	header := func(name, value string) eventstream.Header {
		return eventstream.Header{Name: name, Value: eventstream.StringValue(value)}
	}
	contentType := "application/x-amz-json-1.1"
	if c.proto == protoRESTJSON {
		contentType = "application/json"
	}
	var frame bytes.Buffer
	err = eventstream.NewEncoder().Encode(&frame, eventstream.Message{Payload: text, Headers: eventstream.Headers{
		header(":message-type", kind), header(":"+kind+"-type", name), header(":content-type", contentType),
	}})
	if err != nil {
		return err
	}
	c.startStream()
	if _, err := c.w.Write(frame.Bytes()); err != nil {
		return err
	}
	return http.NewResponseController(c.w.ResponseWriter).Flush()
}

func (c *call) startStream() {
	if c.w.status == 0 {
		c.w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
		c.w.WriteHeader(http.StatusOK)
	}
}

// converses tells whether the body is a stream of signed events, to be answered while
// it goes on.
func (c *call) converses() bool {
	return c.r.Header.Get("X-Amz-Content-Sha256") == streamingEvents && (c.ep.service == "transcribe" || c.ep.service == "bedrock")
}

// converse begins the answer and hands each event to hear, until the client ends the
// conversation as it should, or either side fails.
func (c *call) converse(hear func(event string, payload []byte) error) error {
	if !c.converses() {
		return failure(http.StatusBadRequest, "BadRequestException", "x-amz-content-sha256 must be "+streamingEvents)
	}
	if c.r.ProtoMajor != 2 {
		return failure(http.StatusBadRequest, "BadRequestException", "events are taken by HTTP/2 only, not by "+c.r.Proto)
	}
	c.startStream()
	if err := http.NewResponseController(c.w.ResponseWriter).Flush(); err != nil {
		return nil // the client is gone
	}
	events := &eventReader{c: c, previous: c.sig.provided}
	for {
		event, payload, err := events.next()
		if err == nil {
			err = hear(event, payload)
		}
		switch e, refused := errors.AsType[*apiError](err); {
		case refused:
			c.event.errorCode, c.event.errorMessage = e.code, e.message
			_ = c.message("exception", e.code, map[string]string{"message": e.message})
			return nil
		case err == io.EOF:
			return nil
		case err != nil: // cut off
			panic(http.ErrAbortHandler)
		}
	}
}

// eventReader reads events and verifies their signatures: each is a message of its own
// whose payload is the message that is meant, and whose signature covers the one before
// it, beginning with the request's.
// https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html
type eventReader struct {
	c        *call
	previous string // hex
}

// next returns io.EOF after the event that ends the stream, which is empty and signed,
// and another error where the body ends without. What is wrong with an event is an
// *apiError.
func (e *eventReader) next() (event string, payload []byte, err error) {
	n := &countingReader{r: e.c.r.Body, n: &e.c.received}
	m, err := eventstream.NewDecoder().Decode(n, nil)
	if err == io.EOF {
		return "", nil, io.ErrUnexpectedEOF
	}
	if err != nil {
		return "", nil, fmt.Errorf("event: %w", err)
	}
	if err := e.verify(&m); err != nil {
		return "", nil, err
	}
	if len(m.Payload) == 0 {
		if more, err := io.Copy(io.Discard, n); more > 0 || err != nil {
			return "", nil, failure(http.StatusBadRequest, "BadRequestException", "The stream goes on after its last event.")
		}
		return "", nil, io.EOF
	}
	inner, err := eventstream.NewDecoder().Decode(bytes.NewReader(m.Payload), nil)
	if err != nil {
		return "", nil, failure(http.StatusBadRequest, "BadRequestException", "The payload of an event is no message: "+err.Error())
	}
	if kind := inner.Headers.Get(":message-type"); kind == nil || kind.String() != "event" {
		return "", nil, failure(http.StatusBadRequest, "BadRequestException", "A message is no event.")
	}
	if name := inner.Headers.Get(":event-type"); name != nil {
		event = name.String()
	}
	return event, inner.Payload, nil
}

func (e *eventReader) verify(m *eventstream.Message) error {
	bad := func(why string) error { return failure(http.StatusForbidden, "InvalidSignatureException", why) }
	date, _ := m.Headers.Get(":date").(eventstream.TimestampValue)
	signature, _ := m.Headers.Get(":chunk-signature").(eventstream.BytesValue)
	if len(m.Headers) != 2 || len(signature) != 32 {
		return bad("An event has the headers :date and :chunk-signature, and no others.")
	}
	at := time.Time(date).UTC()
	if skew := e.c.at.Add(-maxSkew); at.Before(skew) || at.After(time.Now().Add(maxSkew)) {
		return bad("An event is of " + at.Format(time.RFC3339) + ", too far from now.")
	}
	// The headers as signed: :date alone, a timestamp (type 8) in milliseconds.
	headers := append([]byte{5}, ":date\x08"...)
	headers = binary.BigEndian.AppendUint64(headers, uint64(at.UnixMilli()))
	sig := e.c.sig
	day := at.Format("20060102")
	toSign := algorithm + "-PAYLOAD\n" + at.Format(amzTime) + "\n" + day + "/" + sig.region + "/" + sig.service + "/aws4_request\n" +
		e.previous + "\n" + sha256Hex(headers) + "\n" + sha256Hex(m.Payload)
	given := hex.EncodeToString(signature)
	if want := hex.EncodeToString(hmacSHA256(signingKey(e.c.who.secret, day, sig.region, sig.service), toSign)); given != want {
		return bad("The signature of an event does not match. The String-to-Sign should have been\n'" + toSign + "'\n")
	}
	e.previous = given
	return nil
}
