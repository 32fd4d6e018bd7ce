package simaws

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// digestChain is the digest files of one trail, account and region.
type digestChain struct {
	Account, Region string
	Start           time.Time // of the period that is running
	Logs            []digestLog
	Previous        *digestLink
}

type digestLink struct{ Bucket, Key, Hash, Signature string }

// digestLog: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-log-file-validation-digest-file-structure.html
type digestLog struct {
	S3Bucket        string `json:"s3Bucket"`
	S3Object        string `json:"s3Object"`
	HashValue       string `json:"hashValue"`
	HashAlgorithm   string `json:"hashAlgorithm"`
	NewestEventTime string `json:"newestEventTime"`
	OldestEventTime string `json:"oldestEventTime"`
}

type digestFile struct {
	AWSAccountID                string      `json:"awsAccountId"`
	DigestStartTime             string      `json:"digestStartTime"`
	DigestEndTime               string      `json:"digestEndTime"`
	DigestS3Bucket              string      `json:"digestS3Bucket"`
	DigestS3Object              string      `json:"digestS3Object"`
	DigestPublicKeyFingerprint  string      `json:"digestPublicKeyFingerprint"`
	DigestSignatureAlgorithm    string      `json:"digestSignatureAlgorithm"`
	NewestEventTime             *string     `json:"newestEventTime"`
	OldestEventTime             *string     `json:"oldestEventTime"`
	PreviousDigestS3Bucket      *string     `json:"previousDigestS3Bucket"`
	PreviousDigestS3Object      *string     `json:"previousDigestS3Object"`
	PreviousDigestHashValue     *string     `json:"previousDigestHashValue"`
	PreviousDigestHashAlgorithm *string     `json:"previousDigestHashAlgorithm"`
	PreviousDigestSignature     *string     `json:"previousDigestSignature"`
	LogFiles                    []digestLog `json:"logFiles"`
}

// trailKey signs the digests of a region.
type trailKey struct {
	Region      string
	Private     []byte // PKCS #1
	Public      []byte // PKCS #1, as ListPublicKeys gives it
	Fingerprint string
	Start, End  time.Time
}

// key returns the key in use in a region; t.mu is held.
func (t *trail) key(region string) (*trailKey, error) {
	now := t.clock().UTC()
	for _, k := range t.state.Keys {
		if k.Region == region && now.Before(k.End) {
			return k, nil
		}
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	k := &trailKey{Region: region, Private: x509.MarshalPKCS1PrivateKey(private), Public: x509.MarshalPKCS1PublicKey(&private.PublicKey),
		Start: now.Add(-24 * time.Hour), End: now.Add(30 * 24 * time.Hour)}
	sum := md5.Sum(k.Public)
	k.Fingerprint = hex.EncodeToString(sum[:])
	t.state.Keys = append(t.state.Keys, k)
	return k, t.save()
}

// RotateTrailKey ends the key that a region's digests are signed with.
func (s *Sim) RotateTrailKey(region string) {
	s.trail.mu.Lock()
	defer s.trail.mu.Unlock()
	for _, k := range s.trail.state.Keys {
		if now := s.trail.clock(); k.Region == region && now.Before(k.End) {
			k.End = now
		}
	}
}

// Digest ends the running period of every trail that writes digests and writes
// their digest files. It returns their addresses, bucket/key.
func (s *Sim) Digest() ([]string, error) { return s.trail.digest(false, time.Time{}) }

// BackfillDigest does the same with digest files as CloudTrail makes them
// afterwards, which have a chain of their own.
func (s *Sim) BackfillDigest() ([]string, error) { return s.trail.digest(true, time.Time{}) }

// digest writes for the periods that began before then; all when it is zero.
func (t *trail) digest(backfill bool, then time.Time) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, tr := range t.state.Trails {
		if !tr.Digests {
			continue
		}
		for _, account := range append([]string{tr.Account}, tr.Members...) {
			tr.chain(account, tr.HomeRegion, t.clock().UTC())
		}
		for _, c := range tr.Chains {
			if c.Region == "" || !then.IsZero() && !c.Start.Before(then) {
				continue
			}
			key, err := t.writeDigest(tr, c, backfill)
			if err != nil {
				return out, fmt.Errorf("simaws: digest of %s: %w", tr.ARN(), err)
			}
			out = append(out, tr.Bucket+"/"+key)
		}
	}
	return out, t.save()
}

func (t *trailState) chain(account, region string, now time.Time) *digestChain {
	name := account + " " + region
	if t.Chains[name] == nil {
		t.Chains[name] = &digestChain{Account: account, Region: region, Start: now.Truncate(time.Second)}
	}
	return t.Chains[name]
}

func (t *trail) writeDigest(tr *trailState, c *digestChain, backfill bool) (string, error) {
	k, err := t.key(c.Region)
	if err != nil {
		return "", err
	}
	end := t.clock().UTC().Truncate(time.Second)
	name, previous := "", &c.Previous
	if backfill {
		name = "_backfill"
		other := "backfill " + c.Account + " " + c.Region
		if tr.Chains[other] == nil {
			tr.Chains[other] = &digestChain{} // Region "": it holds the link alone
		}
		previous = &tr.Chains[other].Previous
	}
	key := fmt.Sprintf("%sCloudTrail-Digest/%s/%s/%s_CloudTrail-Digest_%s_%s_%s_%s%s.json.gz", tr.root(c.Account), c.Region,
		end.Format("2006/01/02"), c.Account, c.Region, tr.Name, tr.HomeRegion, end.Format("20060102T150405Z"), name)
	d := &digestFile{AWSAccountID: c.Account, DigestStartTime: c.Start.Format(time.RFC3339), DigestEndTime: end.Format(time.RFC3339),
		DigestS3Bucket: tr.Bucket, DigestS3Object: key, DigestPublicKeyFingerprint: k.Fingerprint, DigestSignatureAlgorithm: "SHA256withRSA",
		LogFiles: append([]digestLog{}, c.Logs...)}
	for i := range d.LogFiles {
		l := &d.LogFiles[i]
		if d.NewestEventTime == nil || *d.NewestEventTime < l.NewestEventTime {
			d.NewestEventTime = &l.NewestEventTime
		}
		if d.OldestEventTime == nil || *d.OldestEventTime > l.OldestEventTime {
			d.OldestEventTime = &l.OldestEventTime
		}
	}
	if p := *previous; p != nil {
		algorithm := "SHA-256"
		d.PreviousDigestS3Bucket, d.PreviousDigestS3Object = &p.Bucket, &p.Key
		d.PreviousDigestHashValue, d.PreviousDigestHashAlgorithm, d.PreviousDigestSignature = &p.Hash, &algorithm, &p.Signature
	}
	link, err := t.putDigest(k, d, backfill)
	if err != nil {
		return "", err
	}
	*previous = link
	c.Start, c.Logs = end, nil
	return key, nil
}

// putDigest signs a digest file and stores it:
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-log-file-custom-validation.html
func (t *trail) putDigest(k *trailKey, d *digestFile, backfill bool) (*digestLink, error) {
	raw, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	hash := sha256Hex(raw)
	before := "null"
	if d.PreviousDigestSignature != nil {
		before = *d.PreviousDigestSignature
	}
	signed := sha256.Sum256([]byte(strings.Join([]string{d.DigestEndTime, d.DigestS3Bucket + "/" + d.DigestS3Object, hash, before}, "\n")))
	private, err := x509.ParsePKCS1PrivateKey(k.Private)
	if err != nil {
		return nil, err
	}
	sig, err := rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, signed[:])
	if err != nil {
		return nil, err
	}
	meta := map[string]string{"X-Amz-Meta-Signature": hex.EncodeToString(sig), "X-Amz-Meta-Signature-Algorithm": "SHA256withRSA"}
	if backfill {
		meta["X-Amz-Meta-Backfill-Generation-Timestamp"] = t.clock().UTC().Format(time.RFC3339)
	}
	if err := t.put(d.DigestS3Bucket, d.DigestS3Object, zippedJSON(raw), meta); err != nil {
		return nil, err
	}
	return &digestLink{d.DigestS3Bucket, d.DigestS3Object, hash, hex.EncodeToString(sig)}, nil
}

func zippedJSON(raw []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.Copy(z, bytes.NewReader(raw)) // a buffer takes everything
	_ = z.Close()
	return b.Bytes()
}
