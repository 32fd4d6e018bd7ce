// Package sdktest has AWS's SDK for Go do in tests what it does not do by itself, or at
// some length.
package sdktest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream/eventstreamapi"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithymiddleware "github.com/aws/smithy-go/middleware"
)

// NoChecksum leaves out the checksum that S3 does not ask for, and with it the trailer.
func NoChecksum(o *s3.Options) {
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
}

// DeclareHash declares a body's SHA-256 in X-Amz-Content-Sha256, which the SDK
// would not do over HTTPS by itself.
func DeclareHash(body []byte) func(*s3.Options) {
	sum := sha256.Sum256(body)
	return s3.WithAPIOptions(func(stack *smithymiddleware.Stack) error {
		return stack.Initialize.Add(smithymiddleware.InitializeMiddlewareFunc("declareHash", func(ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
			return next.HandleInitialize(v4.SetPayloadHash(ctx, hex.EncodeToString(sum[:])), in)
		}), smithymiddleware.After)
	})
}

// Seed is the signature in an Authorization header, which the first event's is
// chained to.
func Seed(t testing.TB, h http.Header) []byte {
	t.Helper()
	_, signature, _ := strings.Cut(h.Get("Authorization"), "Signature=")
	b, err := hex.DecodeString(signature)
	if err != nil {
		t.Error(err)
	}
	return b
}

// SignedEvent wraps a message as the SDK does in conversations.
func SignedEvent(t testing.TB, signer *v4.StreamSigner, message []byte, at time.Time) []byte {
	t.Helper()
	var headers, out bytes.Buffer
	h := eventstream.Headers{{Name: eventstreamapi.DateHeader, Value: eventstream.TimestampValue(at)}}
	if err := eventstream.EncodeHeaders(&headers, h); err != nil {
		t.Fatal(err)
	}
	signature, err := signer.GetSignature(context.Background(), headers.Bytes(), message, at)
	if err != nil {
		t.Fatal(err)
	}
	h.Set(eventstreamapi.ChunkSignatureHeader, eventstream.BytesValue(signature))
	if err := eventstream.NewEncoder().Encode(&out, eventstream.Message{Headers: h, Payload: message}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Converse says some 90 KB to the simulated Bedrock, each event once the one before is
// answered, and leaves the conversation open. A client can have one at a time: what reads
// its events notes in the client how deep it is.
func Converse(t *testing.T, client *bedrockruntime.Client) *bedrockruntime.InvokeModelWithBidirectionalStreamEventStream {
	t.Helper()
	out, err := client.InvokeModelWithBidirectionalStream(t.Context(), &bedrockruntime.InvokeModelWithBidirectionalStreamInput{ModelId: aws.String("amazon.nova-sonic-v1:0")})
	if err != nil {
		t.Fatal(err)
	}
	stream := out.GetStream()
	for _, said := range []string{"one", strings.Repeat("two", 30_000), "ü"} {
		if err := stream.Send(t.Context(), &types.InvokeModelWithBidirectionalStreamInputMemberChunk{Value: types.BidirectionalInputPayloadPart{Bytes: []byte(said)}}); err != nil {
			t.Fatal(err)
		}
		heard, ok := (<-stream.Events()).(*types.InvokeModelWithBidirectionalStreamOutputMemberChunk)
		if !ok || string(heard.Value.Bytes) != said {
			t.Fatalf("%d bytes are answered by %+v, %v", len(said), heard, stream.Err())
		}
	}
	return stream
}
