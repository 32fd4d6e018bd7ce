package simaws

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

// frame writes one event of an answer that goes on, at once. The first begins the
// answer and is the "initial-response":
// https://smithy.io/2.0/aws/amazon-eventstream.html
func (c *call) frame(event string, payload any) error {
	text, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	header := func(name, value string) eventstream.Header {
		return eventstream.Header{Name: name, Value: eventstream.StringValue(value)}
	}
	var frame bytes.Buffer
	err = eventstream.NewEncoder().Encode(&frame, eventstream.Message{Payload: text, Headers: eventstream.Headers{
		header(":message-type", "event"), header(":event-type", event), header(":content-type", "application/x-amz-json-1.1"),
	}})
	if err != nil {
		return err
	}
	if c.w.status == 0 {
		c.w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
		c.w.WriteHeader(http.StatusOK)
	}
	if _, err := c.w.Write(frame.Bytes()); err != nil {
		return err
	}
	return http.NewResponseController(c.w.ResponseWriter).Flush()
}
