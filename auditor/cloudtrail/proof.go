package cloudtrail

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/md5"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/posternhq/postern/events"
)

// maxKept bounds a digest file that an event keeps, gzipped: an event has to fit
// into a message. It is some 10,000 log files.
const maxKept = 512 << 10

// keep adds to the report on a valid digest file what others need to verify it.
func (d *digest) keep(report *events.CloudTrailDigestChecked) error {
	if d.public == nil || len(d.raw) == 0 {
		return nil
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(d.raw); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if b.Len() > maxKept {
		return nil
	}
	report.Content = base64.StdEncoding.EncodeToString(b.Bytes())
	report.PublicKey = base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(d.public))
	return nil
}

// Vouched is what a digest file says when its signature holds.
type Vouched struct {
	// Fingerprint is of the public key by which the signature holds, as ListPublicKeys
	// names AWS's: the MD5 of the key in PKCS #1. What the digest file says of it counts
	// for nothing, because whoever makes one up can say so, too.
	Fingerprint string
	// Logs are the SHA-256, in hex, of log files' content, by s3:// address.
	Logs map[string]string
}

// ErrNotKept says that a report has no digest file with it.
var ErrNotKept = errors.New("the digest file is not in the report on it")

// Vouch verifies the digest file that a report keeps, by the key that it keeps:
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-log-file-custom-validation.html
func Vouch(report *events.CloudTrailDigestChecked) (*Vouched, error) {
	if report.Content == "" || report.PublicKey == "" {
		return nil, ErrNotKept
	}
	packed, err1 := base64.StdEncoding.DecodeString(report.Content)
	der, err2 := base64.StdEncoding.DecodeString(report.PublicKey)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("digest file: %w", err)
	}
	public, err := x509.ParsePKCS1PublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("digest file: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(z, maxDigest+1))
	if err != nil || len(raw) > maxDigest {
		return nil, fmt.Errorf("digest file: too long, or %w", err)
	}
	d := &digest{sum: sha256.Sum256(raw), signature: report.Signature}
	if err := json.Unmarshal(raw, d); err != nil {
		return nil, fmt.Errorf("digest file: %w", err)
	}
	if hex.EncodeToString(d.sum[:]) != report.SHA256 || d.Bucket != report.Bucket || d.Key != report.Key {
		return nil, errors.New("the digest file is not the one that the report is on")
	}
	if !d.signedBy(public) {
		return nil, errors.New("the digest file's signature does not hold")
	}
	print := md5.Sum(der)
	out := &Vouched{Fingerprint: hex.EncodeToString(print[:]), Logs: map[string]string{}}
	for _, l := range d.Logs {
		out.Logs[s3Name(l.Bucket, l.Key)] = l.Hash
	}
	return out, nil
}

// signedBy checks the signature alone.
func (d *digest) signedBy(public *rsa.PublicKey) bool {
	previous := "null"
	if d.PreviousSigned != nil {
		previous = *d.PreviousSigned
	}
	signed := sha256.Sum256([]byte(strings.Join([]string{d.End, d.Bucket + "/" + d.Key, hex.EncodeToString(d.sum[:]), previous}, "\n")))
	signature, err := hex.DecodeString(d.signature)
	return err == nil && rsa.VerifyPKCS1v15(public, crypto.SHA256, signed[:], signature) == nil
}

// FileOf puts records together as a log file has them, and says whether that is
// what a SHA-256, in hex, is of. A line may end after the last brace, or not.
func FileOf(records [][]byte, sum string) (content []byte, ok bool) {
	var b bytes.Buffer
	b.WriteString(`{"Records":[`)
	b.Write(bytes.Join(records, []byte(",")))
	b.WriteString("]}")
	for range 2 {
		if has := sha256.Sum256(b.Bytes()); hex.EncodeToString(has[:]) == sum {
			return b.Bytes(), true
		}
		b.WriteByte('\n')
	}
	return nil, false
}

// Content reads a log file anew, without its compression: what AWS vouches for,
// its first gzip member. Nil is for one that is gone or is not in S3.
func (t *Intake) Content(ctx context.Context, name string, most int64) ([]byte, error) {
	bucket, key, ok := splitS3(name)
	if !ok || key == "" {
		return nil, nil
	}
	o, err := t.aws.open(ctx, bucket, key)
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer o.Close()
	z, err := gzip.NewReader(bufio.NewReader(o))
	if err != nil {
		return nil, nil // no log file any more
	}
	z.Multistream(false)
	content, err := io.ReadAll(io.LimitReader(z, most+1))
	if err != nil || int64(len(content)) > most {
		return nil, ctx.Err()
	}
	return content, nil
}

// RecordsIn are the records of a log file's content, byte for byte.
func RecordsIn(content []byte) ([]json.RawMessage, error) {
	var f struct{ Records []json.RawMessage }
	if err := json.Unmarshal(content, &f); err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	return f.Records, nil
}
