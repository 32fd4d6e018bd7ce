package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/posternhq/postern/auditor/query"
)

// bypass uses the proxy's own key to become alice without postern: what a
// thief of that key would do.
func (d *demonstration) bypass(ctx context.Context) error {
	ca, err := os.ReadFile(d.ready.AWSSimCA)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	address := strings.TrimPrefix(d.ready.AWSSimURL, "https://")
	direct := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.TLSClientConfig = &tls.Config{RootCAs: roots}
		t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}
	})
	cfg, err := awsconfig.LoadDefaultConfig(ctx,
		awsconfig.WithRegion("us-east-1"), awsconfig.WithHTTPClient(direct),
		awsconfig.WithSharedCredentialsFiles([]string{filepath.Join(filepath.Dir(d.ready.CAFile), "aws-sim", "credentials")}),
		awsconfig.WithSharedConfigFiles(nil),
	)
	if err != nil {
		return err
	}
	cfg.Credentials = stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), "arn:aws:iam::"+devAccount+":role/PosternEngineer",
		func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = "alice" })
	out, err := s3.NewFromConfig(cfg, func(o *s3.Options) { o.DisableLogOutputChecksumValidationSkipped = true }).GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("payments-ledger"), Key: aws.String("2026/q4 ledger+final.bin")})
	if err != nil {
		return err
	}
	d.say("  read %d MiB of the ledger straight from AWS, as assumed-role/PosternEngineer/alice.", aws.ToInt64(out.ContentLength)>>20)
	return out.Body.Close()
}

// coverage waits until CloudTrail has told its side and shows both.
func (d *demonstration) coverage(ctx context.Context) error {
	err := d.poll(ctx, 60*time.Second, "CloudTrail's records", func() (bool, error) {
		out, err := d.command(ctx, "admin", "audit", "coverage", "--format=json").Output()
		if err != nil {
			return false, nil // the auditor may still be busy; the last word is the check below
		}
		var c query.Coverage
		if err := json.Unmarshal(out, &c); err != nil {
			return false, err
		}
		return c.Matched.Count > 0 && c.Awaiting.Count == 0 && c.Bypass.Count > 0, nil
	})
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"audit", "coverage"},
		{"audit", "findings"},
		{"audit", "search", "--user", "alice", "--service", "s3", "--limit", "8"},
	} {
		if _, err := d.as(ctx, "admin", args...); err != nil {
			return err
		}
	}
	out, err := d.command(ctx, "admin", "audit", "search", "--user", "alice", "--action", "CreateBucket", "--limit", "1", "--format=json").Output()
	if err != nil {
		return err
	}
	var page query.Page
	if err := json.Unmarshal(out, &page); err != nil {
		return err
	}
	if len(page.Entries) == 0 || page.Entries[0].Request == nil {
		return errors.New("the audit trail has no CreateBucket of alice")
	}
	id := page.Entries[0].Request.RequestID
	if _, err := d.as(ctx, "admin", "audit", "show", id); err != nil {
		return fmt.Errorf("show %s: %w", id, err)
	}
	_, err = d.as(ctx, "admin", "audit", "why", id)
	return err
}
