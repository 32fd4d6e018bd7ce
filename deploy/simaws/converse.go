package simaws

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// serveTranscribe answers each piece of audio with a transcript that says how long it
// was: https://docs.aws.amazon.com/transcribe/latest/APIReference/API_streaming_StartStreamTranscription.html
func (s *Sim) serveTranscribe(c *call) error {
	if c.r.Method != http.MethodPost || c.path != "/stream-transcription" {
		return s.serveUnknown(c)
	}
	c.event.source, c.event.name = "transcribe.amazonaws.com", "StartStreamTranscription"
	h, out := c.r.Header, c.w.Header()
	// This API's request id has a name of its own.
	out.Del("X-Amzn-Requestid")
	out.Set("X-Amzn-Request-Id", c.requestID)
	if err := c.authorize("transcribe:StartStreamTranscription", "*"); err != nil {
		return err
	}
	for _, name := range []string{"X-Amzn-Transcribe-Language-Code", "X-Amzn-Transcribe-Media-Encoding", "X-Amzn-Transcribe-Sample-Rate"} {
		if h.Get(name) == "" {
			return failure(http.StatusBadRequest, "BadRequestException", strings.ToLower(name)+" is required.")
		}
		out.Set(name, h.Get(name))
	}
	out.Set("X-Amzn-Transcribe-Session-Id", uuid.NewString())
	return c.converse(func(event string, audio []byte) error {
		if event != "AudioEvent" {
			return failure(http.StatusBadRequest, "BadRequestException", "There is no event "+event+".")
		}
		text := strconv.Itoa(len(audio)) + " bytes"
		return c.frame("TranscriptEvent", map[string]any{"Transcript": map[string]any{"Results": []any{map[string]any{
			"ResultId": uuid.NewString(), "IsPartial": false, "StartTime": 0, "EndTime": 0,
			"Alternatives": []any{map[string]any{"Transcript": text, "Items": []any{}}},
		}}}})
	})
}

// serveBedrock has a model that says again what it hears:
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithBidirectionalStream.html
func (s *Sim) serveBedrock(c *call) error {
	rest, isModel := strings.CutPrefix(c.path, "/model/")
	model, converses := strings.CutSuffix(rest, "/invoke-with-bidirectional-stream")
	if !isModel || !converses || c.r.Method != http.MethodPost {
		return s.serveUnknown(c)
	}
	model, err := url.PathUnescape(model)
	if err != nil {
		return failure(http.StatusBadRequest, "ValidationException", "The provided model identifier is invalid.")
	}
	arn := model
	if !strings.HasPrefix(model, "arn:") {
		arn = "arn:" + c.ep.partition + ":bedrock:" + c.ep.region + "::foundation-model/" + model
	}
	c.event.source, c.event.name = "bedrock.amazonaws.com", "InvokeModelWithBidirectionalStream"
	c.event.data, c.event.dataARN = true, arn
	c.event.request = map[string]any{"modelId": model}
	if err := c.authorize("bedrock:InvokeModel", arn); err != nil {
		return err
	}
	return c.converse(func(event string, payload []byte) error {
		var said struct{ Bytes []byte }
		if err := json.Unmarshal(payload, &said); err != nil || event != "chunk" {
			return failure(http.StatusBadRequest, "validationException", "An event is no chunk with bytes.")
		}
		return c.frame("chunk", map[string]any{"bytes": said.Bytes})
	})
}
