package cloudtrail

import (
	"bufio"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/klauspost/compress/gzip"
)

// Chain is the digest files of one trail for one account and region.
type Chain struct {
	Bucket, Account, Region, Trail, HomeRegion string
	Backfill                                   bool
}

// digestName is a digest file's key:
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-log-file-validation-digest-file-structure.html
var digestName = regexp.MustCompile(`^(?:.+/)?AWSLogs/(?:o-[a-z0-9]+/)?(\d{12})/CloudTrail-Digest/([a-z0-9-]+)/\d{4}/\d{2}/\d{2}/(\d{12})_CloudTrail-Digest_([a-z0-9-]+)_([A-Za-z0-9._-]+)_([a-z0-9-]+)_(\d{8}T\d{6}Z)(_backfill)?\.json\.gz$`)

const digestTime = "20060102T150405Z"

// chainOf reads a digest file's chain and end time from its key.
func chainOf(bucket, key string) (Chain, time.Time, bool) {
	m := digestName.FindStringSubmatch(key)
	if m == nil || m[1] != m[3] || m[2] != m[4] {
		return Chain{}, time.Time{}, false
	}
	end, err := time.Parse(digestTime, m[7])
	return Chain{Bucket: bucket, Account: m[1], Region: m[2], Trail: m[5], HomeRegion: m[6], Backfill: m[8] != ""}, end, err == nil
}

// digest is a digest file that was read.
type digest struct {
	End            string      `json:"digestEndTime"`
	Start          string      `json:"digestStartTime"`
	Bucket         string      `json:"digestS3Bucket"`
	Key            string      `json:"digestS3Object"`
	Fingerprint    string      `json:"digestPublicKeyFingerprint"`
	PreviousBucket *string     `json:"previousDigestS3Bucket"`
	PreviousKey    *string     `json:"previousDigestS3Object"`
	PreviousSigned *string     `json:"previousDigestSignature"`
	Logs           []digestLog `json:"logFiles"`

	start, end time.Time
	signature  string
	generated  time.Time // of a backfill digest
	sum        [32]byte
	trailing   bool // bytes follow the gzip data

	// raw is the content, where it is short enough to be kept, and public the key
	// that verified it.
	raw    []byte
	public *rsa.PublicKey
}

// maxKeptRaw bounds it: log files' names gzip to a tenth.
const maxKeptRaw = 16 * maxKept

type digestLog struct {
	Bucket string `json:"s3Bucket"`
	Key    string `json:"s3Object"`
	Hash   string `json:"hashValue"`
}

// maxDigest bounds a digest file's content: 100,000 log files make about 50 MB.
const maxDigest = 128 << 20

// digestError says what is wrong with a digest file.
type digestError struct{ reason string }

func (e digestError) Error() string { return e.reason }

// readDigest reads a digest file: its content, and the signature that S3's
// metadata have.
func readDigest(r io.Reader, meta map[string]string, chain Chain) (*digest, error) {
	in := bufio.NewReader(r)
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, digestError{"invalid format: " + err.Error()}
	}
	// As for log files, the first member is what was signed.
	z.Multistream(false)
	raw, err := io.ReadAll(io.LimitReader(z, maxDigest+1))
	if err != nil {
		return nil, digestError{"invalid format: " + err.Error()}
	}
	if len(raw) > maxDigest {
		return nil, digestError{fmt.Sprintf("invalid format: longer than %d bytes", maxDigest)}
	}
	d := &digest{sum: sha256.Sum256(raw), signature: meta["signature"]}
	if len(raw) <= maxKeptRaw {
		d.raw = raw
	}
	_, err = in.Peek(1)
	d.trailing = err != io.EOF
	// What is absent, rather than null, was not written by CloudTrail.
	var fields map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(raw, d), json.Unmarshal(raw, &fields)); err != nil {
		return nil, digestError{"invalid format: " + err.Error()}
	}
	for _, name := range []string{"digestPublicKeyFingerprint", "digestS3Bucket", "digestS3Object", "previousDigestSignature", "digestEndTime", "digestStartTime"} {
		if _, ok := fields[name]; !ok {
			return nil, digestError{"invalid format: no " + name}
		}
	}
	if d.signature == "" || meta["signature-algorithm"] == "" {
		return nil, digestError{"signature verification failed: the object's metadata have no signature"}
	}
	var err1, err2, err3 error
	d.start, err1 = time.Parse(time.RFC3339, d.Start)
	d.end, err2 = time.Parse(time.RFC3339, d.End)
	if chain.Backfill {
		d.generated, err3 = time.Parse(time.RFC3339, meta["backfill-generation-timestamp"])
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, digestError{"invalid format: " + err.Error()}
	}
	return d, nil
}

// verify checks where a digest file was signed for, and its signature:
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-log-file-custom-validation.html
func (d *digest) verify(ctx context.Context, keys *publicKeys, region, bucket, key string) error {
	if d.Bucket != bucket || d.Key != key {
		return digestError{"has been moved from its original location, " + s3Name(d.Bucket, d.Key)}
	}
	from, to := d.start.Add(-time.Hour), d.end.Add(2*time.Hour)
	if !d.generated.IsZero() {
		from, to = d.generated.Add(-time.Hour), d.generated.Add(time.Hour)
	}
	public, err := keys.get(ctx, region, d.Fingerprint, from, to)
	if err != nil {
		return err
	}
	if !d.signedBy(public) {
		return digestError{"signature verification failed"}
	}
	d.public = public
	return nil
}

// previousKey is empty at the start of a chain.
func (d *digest) previousKey() string {
	if d.PreviousBucket == nil || d.PreviousKey == nil {
		return ""
	}
	return *d.PreviousKey
}

// publicKeys are CloudTrail's, as ListPublicKeys gives them.
type publicKeys struct {
	aws *AWS

	mu    sync.Mutex
	known map[string][]publicKey // by region and fingerprint
}

type publicKey struct {
	key      *rsa.PublicKey
	from, to time.Time
}

// get returns the key of a fingerprint that was valid some time between from and
// to. That there is none is a digestError.
func (k *publicKeys) get(ctx context.Context, region, fingerprint string, from, to time.Time) (*rsa.PublicKey, error) {
	if key := k.cached(region, fingerprint, from, to); key != nil {
		return key, nil
	}
	client, err := k.aws.trail(ctx, region)
	if err != nil {
		return nil, err
	}
	for pages := cloudtrail.NewListPublicKeysPaginator(client, &cloudtrail.ListPublicKeysInput{StartTime: &from, EndTime: &to}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("public keys of CloudTrail in %s: %w", region, err)
		}
		for _, p := range page.PublicKeyList {
			public, err := x509.ParsePKCS1PublicKey(p.Value)
			if err != nil || p.Fingerprint == nil {
				continue // it verifies nothing
			}
			k.keep(region, *p.Fingerprint, publicKey{public, aws.ToTime(p.ValidityStartTime), aws.ToTime(p.ValidityEndTime)})
		}
	}
	if key := k.cached(region, fingerprint, from, to); key != nil {
		return key, nil
	}
	return nil, digestError{"public key not found in region " + region + " for fingerprint " + fingerprint}
}

func (k *publicKeys) cached(region, fingerprint string, from, to time.Time) *rsa.PublicKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.known[region+" "+fingerprint] {
		if !p.to.Before(from) && !p.from.After(to) {
			return p.key
		}
	}
	return nil
}

func (k *publicKeys) keep(region, fingerprint string, p publicKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	name := region + " " + fingerprint
	for _, q := range k.known[name] {
		if q.from.Equal(p.from) && q.to.Equal(p.to) && q.key.Equal(p.key) {
			return
		}
	}
	k.known[name] = append(k.known[name], p)
}

// hashLog returns the SHA-256, in hex, of a log file's content as its digest
// vouches for it: of the first gzip member. trailing tells of bytes after it.
func hashLog(r io.Reader) (sum string, trailing bool, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	z, err := gzip.NewReader(in)
	if err != nil {
		return "", false, err
	}
	z.Multistream(false)
	h := sha256.New()
	if _, err := io.Copy(h, z); err != nil {
		return "", false, err
	}
	_, err = in.Peek(1)
	return hex.EncodeToString(h.Sum(nil)), err == nil, nil
}
