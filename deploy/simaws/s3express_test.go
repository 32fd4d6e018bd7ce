package simaws

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const zonal = "fast--use1-az4--x-s3"

// makeDirectoryBucket makes the bucket zonal and a client for it.
func makeDirectoryBucket(t *testing.T, f *fixture) *s3.Client {
	t.Helper()
	c := s3.NewFromConfig(f.aws())
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(zonal), CreateBucketConfiguration: &types.CreateBucketConfiguration{
		Location: &types.LocationInfo{Name: aws.String("use1-az4"), Type: types.LocationTypeAvailabilityZone},
		Bucket:   &types.BucketInfo{DataRedundancy: types.DataRedundancySingleAvailabilityZone, Type: types.BucketTypeDirectory},
	}}); err != nil {
		t.Fatal(err)
	}
	return c
}

// A directory bucket takes the credentials that CreateSession gave for it.
func TestDirectoryBucket(t *testing.T) {
	f := newSim(t, nil)
	c := makeDirectoryBucket(t, f)
	put := func(c *s3.Client, bucket string) error {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("a/b"), Body: strings.NewReader("body")})
		return err
	}
	if err := put(c, zonal); err != nil {
		t.Fatal(err)
	}
	list, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(zonal)})
	if err != nil || len(list.Contents) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	plain := s3.NewFromConfig(f.aws(), func(o *s3.Options) { o.DisableS3ExpressSessionAuth = aws.Bool(true) })
	if err := put(plain, zonal); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("without a session: %v", err)
	}
	readOnly, err := c.CreateSession(t.Context(), &s3.CreateSessionInput{Bucket: aws.String(zonal), SessionMode: types.SessionModeReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	reader := s3.NewFromConfig(f.aws(), func(o *s3.Options) { o.ExpressCredentials = oneSession{readOnly.Credentials} })
	if _, err := reader.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(zonal), Key: aws.String("a/b")}); err != nil {
		t.Error(err)
	}
	if err := put(reader, zonal); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("written in a session that reads: %v", err)
	}
	forged := *readOnly.Credentials
	forged.SecretAccessKey = aws.String("guess")
	if err := put(s3.NewFromConfig(f.aws(), func(o *s3.Options) { o.ExpressCredentials = oneSession{&forged} }), zonal); err == nil || !strings.Contains(err.Error(), "SignatureDoesNotMatch") {
		t.Errorf("signed with another secret: %v", err)
	}
}

type oneSession struct{ *types.SessionCredentials }

func (s oneSession) Retrieve(context.Context, string) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: *s.AccessKeyId, SecretAccessKey: *s.SecretAccessKey, SessionToken: *s.SessionToken, CanExpire: true, Expires: *s.Expiration}, nil
}

// The AWS CLI copies to and from a directory bucket.
func TestCLIDirectoryBucket(t *testing.T) {
	f := newSim(t, nil)
	cli := newRunner(t, f, "aws")
	makeDirectoryBucket(t, f)
	file, data := writeRandom(t, 9<<20) // in parts
	cli.must("s3", "cp", file, "s3://"+zonal+"/dir/file", "--only-show-errors")
	back := filepath.Join(t.TempDir(), "back")
	cli.must("s3", "cp", "s3://"+zonal+"/dir/file", back, "--only-show-errors")
	if got, err := os.ReadFile(back); err != nil || string(got) != string(data) {
		t.Errorf("came back as %d bytes, %v", len(got), err)
	}
}
