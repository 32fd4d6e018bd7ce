package simaws

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// BenchmarkS3 is what the simulation itself can carry, which bounds what a
// benchmark of the proxy against it can show. Run with -benchmem: the memory
// of an operation does not follow the object's size.
func BenchmarkS3(b *testing.B) {
	for _, size := range []int64{1 << 10, 64 << 10, 256 << 20} {
		for _, method := range []string{http.MethodPut, http.MethodGet} {
			b.Run(method+"/"+strconv.FormatInt(size, 10), func(b *testing.B) {
				s, err := New(Config{Dir: b.TempDir(), TrailDelay: time.Second, DataEvents: []string{"arn:aws:s3"}, Log: zerolog.Nop()})
				if err != nil {
					b.Fatal(err)
				}
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error, 1)
				go func() { done <- s.Run(ctx) }()
				b.Cleanup(func() {
					cancel()
					if err := <-done; err != nil {
						b.Error(err)
					}
				})
				key, err := s.AccessKey(testAccount, "bench")
				if err != nil {
					b.Fatal(err)
				}
				if err := s.PutBucket(Bucket{Account: testAccount, Region: "us-east-1", Name: "bench"}); err != nil {
					b.Fatal(err)
				}
				if err := s.PutObject("bench", "k", io.LimitReader(zeros{}, size)); err != nil {
					b.Fatal(err)
				}
				client := dialClient(b, s, []string{"http/1.1"})
				b.SetBytes(size)
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						req := unsignedBody(b, method, "https://bench.s3.us-east-1.amazonaws.com/k", size, key)
						res, err := client.Do(req)
						if err != nil {
							b.Error(err)
							return
						}
						n, err := io.Copy(io.Discard, res.Body)
						res.Body.Close()
						if err != nil || res.StatusCode != http.StatusOK || method == http.MethodGet && n != size {
							b.Errorf("%d, %d bytes, %v", res.StatusCode, n, err)
						}
					}
				})
			})
		}
	}
}
