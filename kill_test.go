package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy/local"
	"github.com/posternhq/postern/proxy/sts"
)

const loadResources = `kind: role
version: v7
metadata: {name: load}
spec:
  options: {max_session_ttl: 30h}
  allow:
    app_labels: {"*": "*"}
    aws_role_arns: ["arn:aws:iam::` + devAccount + `:role/PosternEngineer"]
---
kind: app
version: v3
metadata: {name: load, labels: {for: load}}
spec: {cloud: AWS, aws: {account_id: "` + devAccount + `", region: us-east-1}}
---
kind: user
version: v2
metadata: {name: admin}
spec: {roles: [admin, load]}
`

// client returns an S3 client that goes through the cluster as the admin. It
// never retries: what it is told is what happened.
func (c *cluster) client(ctx context.Context) *s3.Client {
	c.t.Helper()
	c.write("load.yaml", []byte(loadResources))
	if _, err := c.postern(ctx, "create", "--force", "-f", filepath.Join(c.dir, "load.yaml")); err != nil {
		c.t.Fatal(err)
	}
	out, err := c.postern(ctx, "apps", "login", "--format=json", "load")
	if err != nil {
		c.t.Fatal(err)
	}
	var session appSession
	if err := json.Unmarshal([]byte(out), &session); err != nil {
		c.t.Fatal(err)
	}
	id, err := readIdentity(c.admin)
	if err != nil {
		c.t.Fatal(err)
	}
	tlsConfig, err := id.TLSConfig()
	if err != nil {
		c.t.Fatal(err)
	}
	h, err := local.New(local.Config{ProxyAddr: c.ports["proxy"], ProxyTLS: tlsConfig, Dir: filepath.Join(c.dir, "helper-"+session.SessionID),
		Sessions: []local.Session{{ID: session.SessionID, App: session.App, Region: session.Region}}, Log: zerolog.Nop()})
	if err != nil {
		c.t.Fatal(err)
	}
	embeddedtest.Run(c.t, h)
	env := map[string]string{}
	for _, v := range h.Env() {
		env[v.Name] = v.Value
	}
	roots, err := sts.RootsWith(env["AWS_CA_BUNDLE"])
	if err != nil {
		c.t.Fatal(err)
	}
	through, err := url.Parse(env["HTTPS_PROXY"])
	if err != nil {
		c.t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig.RootCAs = roots
	transport.Proxy = http.ProxyURL(through)
	transport.MaxIdleConnsPerHost = 64
	return s3.New(s3.Options{
		Region:      "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], ""),
		HTTPClient:  &http.Client{Transport: transport, Timeout: 20 * time.Second},
		Retryer:     aws.NopRetryer{},
	})
}

// TestKilledPartsLoseNothing kills each part under load. Every call that a
// client saw succeed is on the stream and in ClickHouse, once; every object that
// AWS has was on the stream before; every row is of one event.
func TestKilledPartsLoseNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: kills every part of a running postern")
	}
	c := startCluster(t, plainBinary(t))
	ctx := t.Context()
	client := c.client(ctx)
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("killed")}); err != nil {
		t.Fatal(err)
	}

	running, stop := context.WithCancel(ctx)
	var done sync.Map // key → AWS request id
	var succeeded, failed atomic.Int64
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := 0; running.Err() == nil; i++ {
				key := fmt.Sprintf("w%d/%d", worker, i)
				out, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("killed"), Key: aws.String(key), Body: strings.NewReader(key)})
				if err != nil {
					failed.Add(1)
					continue
				}
				id, _ := awsmiddleware.GetRequestIDMetadata(out.ResultMetadata)
				done.Store(key, id)
				succeeded.Add(1)
			}
		})
	}
	// Each part dies while calls run, and calls go on after it is back.
	more := func(n int64) {
		t.Helper()
		want, deadline := succeeded.Load()+n, time.Now().Add(time.Minute)
		for succeeded.Load() < want {
			if time.Now().After(deadline) {
				t.Fatalf("no calls get through any more: %d succeeded, %d failed\n%s%s%s", succeeded.Load(), failed.Load(), c.output["core"], c.output["proxy"], c.output["auditor"])
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	for _, part := range []string{"auditor", "proxy", "core", "engine", "proxy", "core"} {
		more(200)
		if part == "engine" {
			if err := syscall.Kill(c.engine(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			continue
		}
		c.kill(part)
		c.start(part)
	}
	more(200)
	stop()
	wg.Wait()
	t.Logf("%d calls succeeded, %d failed", succeeded.Load(), failed.Load())
	if failed.Load() == 0 {
		t.Error("no call failed: nothing was killed under load")
	}

	// AWS: what got there.
	var stored []string
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: aws.String("killed")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			stored = append(stored, *o.Key)
		}
	}

	// The stream: every success was admitted, once, and nothing got to AWS that was not.
	nc, err := connectNATS("nats://"+c.ports["nats"], c.nats, "")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	j, err := journal.New(nc, "/postern/test")
	if err != nil {
		t.Fatal(err)
	}
	admitted, completed := map[string]int{}, map[string]string{}
	requests := map[string]bool{}
	for e, err := range j.Replay(ctx, events.Audit) {
		if err != nil {
			t.Fatal(err)
		}
		switch d := e.Data.(type) {
		case *events.AWSRequestAdmitted:
			requests[d.RequestID] = true
			if d.Operation == "PutObject" {
				admitted[keyOf(d.Path)]++
			}
		case *events.AWSRequestCompleted:
			if d.Operation == "PutObject" && d.Status == 200 {
				completed[keyOf(d.Path)] = d.AWSRequestID
			}
		case *events.AWSRequestDenied:
			requests[d.RequestID] = true
		case *events.AWSRequestFailed:
			requests[d.RequestID] = true
		}
	}
	unknown := 0
	done.Range(func(key, id any) bool {
		if n := admitted[key.(string)]; n != 1 {
			t.Errorf("%s succeeded and was admitted %d times", key, n)
		}
		switch completed[key.(string)] {
		case id:
		case "":
			unknown++ // the proxy died between AWS's answer and its own second record
		default:
			t.Errorf("%s: the client was told request id %s, the stream %s", key, id, completed[key.(string)])
		}
		return true
	})
	// The outcomes of the last 20 ms, which wait for company, and of the calls that
	// run die with a proxy: a few a client for each of its two kills. CloudTrail
	// tells them.
	if most := 2 * 8 * 4; unknown > most {
		t.Errorf("%d successes have no outcome; two kills of the proxy under 8 clients can leave %d", unknown, most)
	}
	for _, key := range stored {
		if admitted[key] == 0 {
			t.Errorf("AWS has %s, which was never admitted", key)
		}
	}
	t.Logf("%d objects at AWS, %d admitted, %d successes without outcome", len(stored), len(admitted), unknown)

	// ClickHouse: each of them, once.
	want := len(requests)
	var rows struct{ N, U int }
	deadline := time.Now().Add(time.Minute)
	for {
		out, err := c.postern(ctx, "audit", "sql", "--format=json", "SELECT toUInt32(count()) n, toUInt32(uniqExact(request_id)) u FROM requests")
		if err == nil {
			err = json.Unmarshal([]byte(out), &rows)
		}
		if err == nil && rows.N >= want {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(errors.Join(err, fmt.Errorf("%d of %d rows", rows.N, want)))
		}
		time.Sleep(200 * time.Millisecond)
	}
	if rows.N != want || rows.U != want {
		t.Errorf("%d rows of %d requests; the stream has %d", rows.N, rows.U, want)
	}
	t.Logf("peak RSS in MiB: core (broker and NATS) %d, proxy %d, auditor %d, ClickHouse %d",
		peakRSS(c.procs["core"].Process.Pid), peakRSS(c.procs["proxy"].Process.Pid), peakRSS(c.procs["auditor"].Process.Pid), peakRSS(c.engine()))
}

// keyOf is the object's key in a path of either addressing style.
func keyOf(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, "/killed/"), "/")
}
