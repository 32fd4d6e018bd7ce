package main

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestNATSBeyondLoopback: an embedded server that listens for other machines shows a
// certificate of the broker's CA, which lies on it. It starts; a proxy joins and records
// over TLS, through a rotation of the CA, and after the server was away.
func TestNATSBeyondLoopback(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: runs postern and rotates its CA")
	}
	c := newCluster(t, plainBinary(t))
	_, port, err := net.SplitHostPort(c.ports["nats"])
	if err != nil {
		t.Fatal(err)
	}
	c.startCore(fmt.Sprintf(`listen: "0.0.0.0:%s", public_url: "tls://127.0.0.1:%[1]s"`, port), "agent_ttl: 30s")
	c.startProxy()
	ctx := t.Context()
	client := c.client(ctx)
	call := func(when, bucket string) {
		t.Helper()
		if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	call("joined", "joined")
	c.rotate(ctx, "introduced", 2)
	call("introduced", "introduced")
	c.rotate(ctx, "switched", 2)
	call("switched", "switched")
	old := c.admin
	c.admin += "-2"
	c.signIn(ctx, old)
	client = c.client(ctx)
	c.rotate(ctx, "steady", 1)
	call("steady", "steady")
	c.stop("core")
	c.start("core") // shows what is of the new CA to who knows no other
	c.until("the proxy to come back", func() bool {
		_, err := client.PutObject(context.WithoutCancel(ctx), &s3.PutObjectInput{Bucket: aws.String("steady"), Key: aws.String("k")})
		return err == nil
	})
	c.stop("proxy")
	c.start("proxy")
	call("started again", "again")
}
