package main

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// directoryBucket: S3 Express, whose clients sign with what CreateSession gave
// them, by the AWS CLI and the AWS SDK for Go.
func (c *clients) directoryBucket(t *testing.T) {
	needs(t, "aws", "--version")
	const bucket = "x--use1-az4--x-s3"
	output(t, c.aws(t, "s3api", "create-bucket", "--bucket", bucket, "--create-bucket-configuration",
		"Location={Type=AvailabilityZone,Name=use1-az4},Bucket={DataRedundancy=SingleAvailabilityZone,Type=Directory}"))
	dir := t.TempDir()
	up, down := filepath.Join(dir, "up"), filepath.Join(dir, "down")
	want := randomFile(t, up, 9<<20) // in parts
	for _, args := range [][]string{{up, "s3://" + bucket + "/dir/file"}, {"s3://" + bucket + "/dir/file", down}} {
		cmd := c.aws(t, append([]string{"s3", "cp", "--no-progress", "--debug"}, args...)...)
		var log strings.Builder
		cmd.Stderr = &log
		if err := cmd.Run(); err != nil || strings.Contains(log.String(), "Retry needed") {
			t.Fatalf("%v: %v\n%s", args, err, lastLines(log.String()))
		}
	}
	if got := hashFile(t, down); got != want {
		t.Error("the file came back changed")
	}

	client := s3.New(s3.Options{
		Region:      "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(c.vars["AWS_ACCESS_KEY_ID"], c.vars["AWS_SECRET_ACCESS_KEY"], ""),
		HTTPClient:  &http.Client{Transport: c.transport(t)},
	})
	if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("go"), Body: strings.NewReader("from Go")}); err != nil {
		t.Fatal(err)
	}
	if got, err := object(t.Context(), client, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("go")}); err != nil || string(got) != "from Go" {
		t.Errorf("%q, %v", got, err)
	}

	list := exec.CommandContext(t.Context(), "aws", "s3api", "list-objects-v2", "--bucket", bucket, "--query", "Contents[].Key", "--output", "text")
	list.Env = environ(c.vars)
	if got := output(t, list); got != "dir/file\tgo\n" {
		t.Errorf("listed %q", got)
	}
}
