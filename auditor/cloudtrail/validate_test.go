package cloudtrail

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/posternhq/postern/deploy/simaws"
)

func unzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// tampering is what somebody did to a trail of five hours.
type tampering struct {
	name string
	do   func(c *cloud, b string, logs, digests []string)
	// What the AWS CLI and postern both count.
	want Validation
	// Postern sees it although the CLI does not.
	beyond bool
	// finding is part of what postern says; empty for nothing.
	finding string
}

// resign signs a changed digest with a key of one's own.
func resign(t *testing.T, raw []byte, fingerprint string) ([]byte, map[string]string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	if fingerprint != "" {
		d["digestPublicKeyFingerprint"] = fingerprint
	}
	d["logFiles"] = []any{}
	if raw, err = json.Marshal(d); err != nil {
		t.Fatal(err)
	}
	content := sha256.Sum256(raw)
	signed := sha256.Sum256([]byte(fmt.Sprintf("%s\n%s/%s\n%s\n%s", d["digestEndTime"], d["digestS3Bucket"], d["digestS3Object"], hex.EncodeToString(content[:]), d["previousDigestSignature"])))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, signed[:])
	if err != nil {
		t.Fatal(err)
	}
	return zipped(string(raw)), map[string]string{"signature": hex.EncodeToString(sig), "signature-algorithm": "SHA256withRSA"}
}

func tamperings() []tampering {
	sound := Validation{DigestsValid: 5, LogsValid: 10}
	logBad := Validation{DigestsValid: 5, LogsValid: 9, LogsInvalid: 1}
	digestBad := Validation{DigestsValid: 4, DigestsInvalid: 1, LogsValid: 8}
	edit := func(c *cloud, b, key string, change func([]byte) []byte) {
		body, meta := c.get(b, key)
		c.put(b, key, change(body), meta)
	}
	swap := func(c *cloud, b, x, y string) {
		bx, mx := c.get(b, x)
		by, my := c.get(b, y)
		c.put(b, x, by, my)
		c.put(b, y, bx, mx)
	}
	return []tampering{
		{"nothing", func(*cloud, string, []string, []string) {}, sound, false, ""},
		{"log compressed anew", func(c *cloud, b string, logs, _ []string) {
			edit(c, b, logs[3], func(x []byte) []byte { return zipped(string(unzipped(c.t, x))) })
		}, sound, false, ""},
		{"log changed", func(c *cloud, b string, logs, _ []string) {
			edit(c, b, logs[3], func(x []byte) []byte {
				return zipped(strings.Replace(string(unzipped(c.t, x)), "auditor", "somebody", 1))
			})
		}, logBad, false, "hash value doesn't match"},
		{"log deleted", func(c *cloud, b string, logs, _ []string) { c.remove(b, logs[3]) }, logBad, false, "not found"},
		{"log with a member appended", func(c *cloud, b string, logs, _ []string) {
			edit(c, b, logs[3], func(x []byte) []byte { return append(x, zipped(`{"Records":[]}`)...) })
		}, sound, true, "bytes follow the gzip data"},
		{"log with bytes appended", func(c *cloud, b string, logs, _ []string) {
			edit(c, b, logs[3], func(x []byte) []byte { return append(x, "and more"...) })
		}, sound, true, "bytes follow the gzip data"},
		{"log with a record appended", func(c *cloud, b string, logs, _ []string) {
			edit(c, b, logs[3], func(x []byte) []byte {
				return zipped(strings.Replace(string(unzipped(c.t, x)), `]}`, `,{"eventName":"X"}]}`, 1))
			})
		}, logBad, false, "hash value doesn't match"},
		{"log cut off", func(c *cloud, b string, logs, _ []string) {
			edit(c, b, logs[3], func(x []byte) []byte { return x[:len(x)/2] })
		}, logBad, false, "invalid format"},
		{"log that is no gzip", func(c *cloud, b string, logs, _ []string) {
			edit(c, b, logs[3], func(x []byte) []byte { return unzipped(c.t, x) })
		}, logBad, false, "invalid format"},
		{"logs swapped", func(c *cloud, b string, logs, _ []string) { swap(c, b, logs[2], logs[3]) },
			Validation{DigestsValid: 5, LogsValid: 8, LogsInvalid: 2}, false, "hash value doesn't match"},
		{"log renamed", func(c *cloud, b string, logs, _ []string) {
			body, meta := c.get(b, logs[3])
			c.put(b, strings.Replace(logs[3], ".json.gz", "x.json.gz", 1), body, meta)
			c.remove(b, logs[3])
		}, logBad, false, "not found"},
		{"digest changed", func(c *cloud, b string, _, digests []string) {
			edit(c, b, digests[2], func(x []byte) []byte {
				return zipped(strings.Replace(string(unzipped(c.t, x)), `"hashAlgorithm"`, `"hashalgorithm"`, 1))
			})
		}, digestBad, false, "signature verification failed"},
		{"digest deleted", func(c *cloud, b string, _, digests []string) { c.remove(b, digests[2]) }, digestBad, false, "not found"},
		{"two consecutive digests deleted", func(c *cloud, b string, _, digests []string) {
			c.remove(b, digests[1])
			c.remove(b, digests[2])
		}, Validation{DigestsValid: 3, DigestsInvalid: 1, LogsValid: 6}, true, "more than one is gone"},
		{"last digest deleted", func(c *cloud, b string, _, digests []string) { c.remove(b, digests[4]) },
			Validation{DigestsValid: 4, LogsValid: 8}, false, ""},
		{"digests reordered", func(c *cloud, b string, _, digests []string) { swap(c, b, digests[1], digests[2]) },
			Validation{DigestsValid: 3, DigestsInvalid: 2, LogsValid: 6}, false, "moved from its original location"},
		{"digest replaced by an older one", func(c *cloud, b string, _, digests []string) {
			body, meta := c.get(b, digests[1])
			c.put(b, digests[2], body, meta)
		}, digestBad, false, "moved from its original location"},
		{"digest signed with another key", func(c *cloud, b string, _, digests []string) {
			body, _ := c.get(b, digests[2])
			again, meta := resign(c.t, unzipped(c.t, body), "")
			c.put(b, digests[2], again, meta)
		}, digestBad, false, "signature verification failed"},
		{"digest signed with another key, that it names", func(c *cloud, b string, _, digests []string) {
			body, _ := c.get(b, digests[2])
			again, meta := resign(c.t, unzipped(c.t, body), "0123456789abcdef0123456789abcdef")
			c.put(b, digests[2], again, meta)
		}, digestBad, false, "public key not found"},
		{"digest's signature exchanged", func(c *cloud, b string, _, digests []string) {
			body, _ := c.get(b, digests[2])
			_, meta := c.get(b, digests[1])
			c.put(b, digests[2], body, meta)
		}, digestBad, false, "signature verification failed"},
		{"digest's signature taken away", func(c *cloud, b string, _, digests []string) {
			body, _ := c.get(b, digests[2])
			c.put(b, digests[2], body, nil)
		}, digestBad, false, "signature verification failed"},
		{"digest that is no gzip", func(c *cloud, b string, _, digests []string) {
			body, meta := c.get(b, digests[2])
			c.put(b, digests[2], unzipped(c.t, body), meta)
		}, digestBad, false, "invalid format"},
		{"digest with a member appended", func(c *cloud, b string, _, digests []string) {
			edit(c, b, digests[2], func(x []byte) []byte { return append(x, zipped(`{}`)...) })
		}, sound, true, "bytes follow the gzip data"},
		{"digest and its logs deleted", func(c *cloud, b string, logs, digests []string) {
			c.remove(b, digests[2])
			c.remove(b, logs[4])
			c.remove(b, logs[5])
		}, digestBad, false, "not found"},
	}
}

var ratio = regexp.MustCompile(`(\d+)/(\d+) (digest|backfill digest|log) files (valid|INVALID)`)

// cliVerdict is what `aws cloudtrail validate-logs` counts.
func (c *cloud) cliVerdict(tr simaws.Trail, since, until time.Time) (Validation, string) {
	out := c.cli("cloudtrail", "validate-logs", "--trail-arn", tr.ARN(), "--start-time", clock(since), "--end-time", clock(until))
	var v Validation
	for _, m := range ratio.FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(m[1])
		into := map[string]*int{"digest valid": &v.DigestsValid, "digest INVALID": &v.DigestsInvalid, "backfill digest valid": &v.BackfillValid,
			"backfill digest INVALID": &v.BackfillBad, "log valid": &v.LogsValid, "log INVALID": &v.LogsInvalid}[m[3]+" "+m[4]]
		*into = n
	}
	return v, out
}

func counts(v Validation) string {
	return fmt.Sprintf("digests %d valid %d not, backfill %d valid %d not, logs %d valid %d not", v.DigestsValid, v.DigestsInvalid,
		v.BackfillValid, v.BackfillBad, v.LogsValid, v.LogsInvalid)
}

// The AWS CLI and postern agree on clean trails and on every tampering; where the
// CLI looks away, postern does not.
func TestTamperings(t *testing.T) {
	needsCLI(t)
	c := newCloud(t)
	for i, x := range tamperings() {
		t.Run(x.name, func(t *testing.T) {
			c.t = t
			begin := c.clock()
			tr := c.trail(fmt.Sprintf("case%d", i), 5)
			logs, digests := c.keys(tr.Bucket, "/CloudTrail/"), c.keys(tr.Bucket, "/CloudTrail-Digest/")
			if len(logs) != 10 || len(digests) != 5 {
				t.Fatalf("%d logs, %d digests", len(logs), len(digests))
			}
			defer c.DeleteTrail(tr)
			x.do(c, tr.Bucket, logs, digests)
			until := c.clock().Add(time.Minute)
			cli, said := c.cliVerdict(tr, begin, until)
			got, err := c.in.Validator().Validate(t.Context(), "s3://"+tr.Bucket, Filter{Since: begin, Until: until}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if counts(cli) != counts(x.want) || counts(got) != counts(x.want) {
				t.Errorf("want    %s\nAWS CLI %s\npostern %s\n%s%s", counts(x.want), counts(cli), counts(got), said, lines(got.Problems))
			}
			found := strings.Join(c.summaries(tr.Name), "\n")
			if x.finding == "" && found != "" || !strings.Contains(found, x.finding) {
				t.Errorf("findings %q, want %q", found, x.finding)
			}
			if cliSound := cli.DigestsInvalid+cli.LogsInvalid == 0; !x.beyond && cliSound != (len(got.Problems) == 0) {
				t.Errorf("AWS CLI calls it sound: %t, postern finds %q", cliSound, got.Problems)
			}
			// A second look finds the same and opens nothing.
			before := len(c.summaries(tr.Name))
			again, err := c.in.Validator().Validate(t.Context(), "s3://"+tr.Bucket, Filter{Since: begin, Until: until}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if counts(again) != counts(got) || len(c.summaries(tr.Name)) != before {
				t.Errorf("the second time: %s, %d findings, were %d", counts(again), len(c.summaries(tr.Name)), before)
			}
		})
	}
}
