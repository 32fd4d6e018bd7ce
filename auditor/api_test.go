package auditor_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/query"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
)

// authority signs the certificates of one test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	ca := &authority{t: t}
	ca.key = newKey(t)
	ca.cert = ca.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, &ca.key.PublicKey)
	return ca
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (ca *authority) sign(c, parent *x509.Certificate, pub any) *x509.Certificate {
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return out
}

func (ca *authority) issue(name string, roles ...string) tls.Certificate {
	return ca.issueOn("", name, roles...)
}

// issueOn is issue for a sign-in from a machine.
func (ca *authority) issueOn(device, name string, roles ...string) tls.Certificate {
	k := newKey(ca.t)
	c := ca.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name, Organization: roles, SerialNumber: device}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}, ca.cert, &k.PublicKey)
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: k}
}

func (ca *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert)
	return p
}

func (ca *authority) client(w *world, name string, roles ...string) *client.Client {
	return client.New("https://"+w.a.Addr(), ca.http(name, roles...))
}

func (ca *authority) http(name string, roles ...string) *http.Client {
	return ca.by(ca.issue(name, roles...))
}

func (ca *authority) by(cert tls.Certificate) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: ca.pool(), Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}}}
}

func apiWorld(t testing.TB) (*world, *authority) {
	ca := newAuthority(t)
	w := newWorld(t, func(c *auditor.Config) {
		c.ReaderDSN = embeddedtest.ReaderDSN(t, c.ClickHouseDSN)
		c.Listen = "127.0.0.1:0"
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(), Certificates: []tls.Certificate{ca.issue("auditor")}}
	})
	return w, ca
}

// What goes over HTTPS: who may ask, what answers and refusals look like.
func TestAPI(t *testing.T) {
	w, ca := apiWorld(t)
	ctx := t.Context()
	eve := ca.client(w, "eve", "aws-engineer")
	var refused *client.Error
	if _, err := eve.Coverage(ctx, ""); !errors.As(err, &refused) || refused.Status != http.StatusForbidden || !strings.Contains(refused.Message, "eve") {
		t.Errorf("without a reader's role: %v", err)
	}
	c := ca.client(w, "ann", "aws-engineer", "auditor")

	// Upload: visible as soon as it is said to be done.
	var progress int
	file := gzipped(t, 1200)
	got, err := c.Ingest(ctx, "123456789012_CloudTrail_x.json.gz", bytes.NewReader(file), func(p client.Ingested) { progress = p.Records })
	if err != nil || got.Records != 1200 || got.Rejected != "" || progress != 1000 {
		t.Fatalf("ingest: %+v, %v, progress %d", got, err, progress)
	}
	table, err := c.SQL(ctx, `SELECT count() AS n, toUInt64(18446744073709551615) AS big, 'x' AS s, nan AS f, [1,2] AS a, NULL AS z, map('k', toDateTime64(0, 3, 'UTC')) AS m FROM cloudtrail`)
	if err != nil {
		t.Fatal(err)
	}
	row, _ := json.Marshal(table.Rows)
	if want := `[[1200,18446744073709551615,"x","NaN",[1,2],null,{"k":"1970-01-01T00:00:00Z"}]]`; string(row) != want || table.Columns[0].Name != "n" || table.Columns[0].Type != "UInt64" {
		t.Errorf("sql: %s, want %s; columns %+v", row, want, table.Columns)
	}
	broken, err := c.Ingest(ctx, "cut.json.gz", bytes.NewReader(file[:len(file)/2]), nil)
	if err != nil || broken.Rejected != "file is cut off" || broken.Records == 0 {
		t.Errorf("a file cut off: %+v, %v", broken, err)
	}
	w.until("the rejection is stored", func() bool {
		return w.count(`SELECT count() FROM events WHERE type LIKE 'io.postern.cloudtrail.file.rejected.%' AND JSONExtractString(raw, 'data', 'reason') = 'file is cut off'`) == 1
	})

	for _, x := range []struct {
		statement, says string
		line, column    int
	}{
		{"SELECT 1 FORM x y", "Syntax error", 1, 0},
		{"SELECT\n  * FROM requests WHERE +", "Syntax error", 2, 0},
		{"SELECT nothing FROM requests", "nothing", 0, 0},
		{"INSERT INTO events (seq) VALUES (1)", "", 0, 0},
		{"DROP TABLE events", "", 0, 0},
		{"CREATE TABLE x (a Int8) ENGINE = Memory", "", 0, 0},
		{"SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')", "", 0, 0},
		{"SELECT 1 SETTINGS readonly = 0", "", 0, 0},
		{"SELECT 1 SETTINGS max_memory_usage = 0", "", 0, 0},
		{"SELECT dictGet('d', 'a', 1)", "", 0, 0},
		{"SELECT * FROM dictionary('d')", "", 0, 0},
		{"SELECT * FROM remote('127.0.0.1', system.one)", "", 0, 0},
		{"SELECT * FROM cluster('default', system.one)", "", 0, 0},
		{"SELECT * FROM s3('http://127.0.0.1:1/b/k', 'LineAsString')", "", 0, 0},
		{"SELECT * FROM mysql('127.0.0.1:1', 'd', 't', 'u', 'p')", "", 0, 0},
		{"SELECT * FROM merge('system', 'users')", "", 0, 0},
		{"SELECT * FROM system.query_log", "", 0, 0},
		{"SHOW CREATE USER reader", "", 0, 0},
		{"ALTER TABLE request_rows DELETE WHERE 1", "", 0, 0},
	} {
		_, err := c.SQL(ctx, x.statement)
		var e *client.Error
		if !errors.As(err, &e) || e.Status != http.StatusUnprocessableEntity || e.Code == 0 || !strings.Contains(e.Message, x.says) || e.Line != x.line {
			t.Errorf("%s: %+v", x.statement, err)
		}
	}
	for _, statement := range []string{"SELECT * FROM file('/etc/passwd', 'LineAsString')", "SELECT 1 FORMAT CSV"} {
		if _, err := c.SQL(ctx, statement); !errors.As(err, &refused) || refused.Status != http.StatusBadRequest || refused.Field != "query" {
			t.Errorf("%s: %v", statement, err)
		}
	}
	if _, err := c.SQL(ctx, "SELECT map(tuple(1), 1)"); !errors.As(err, &refused) || refused.Status != http.StatusUnprocessableEntity {
		t.Errorf("a type that can't be shown: %v", err)
	}
	if _, err := c.Search(ctx, query.Filter{Since: "soon"}); !errors.As(err, &refused) || refused.Status != http.StatusBadRequest || refused.Field != "since" {
		t.Errorf("search since soon: %v", err)
	}
	if p, err := c.Search(ctx, query.Filter{FederatedUser: "alice", Limit: 2}); err != nil || len(p.Entries) != 2 || p.Next == "" {
		t.Errorf("search: %+v, %v", p, err)
	}
	if d, err := c.Show(ctx, "E7"); err != nil || d.CloudTrail == nil {
		t.Errorf("show: %+v, %v", d, err)
	}
	if _, err := c.Why(ctx, "a/b c?"); !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		t.Errorf("why: %v", err)
	}
	if f, err := c.Findings(ctx, query.FindingFilter{}); err != nil || f.Findings == nil || len(f.Findings) != 0 {
		t.Errorf("findings: %+v, %v", f, err)
	}
	if cov, err := c.Coverage(ctx, "1h"); err != nil || cov.Offenders == nil {
		t.Errorf("coverage: %+v, %v", cov, err)
	}
}

// Rows as files, page after page until there are no more.
func TestAPIFormats(t *testing.T) {
	w, ca := apiWorld(t)
	c := ca.client(w, "ann", "auditor")
	if _, err := c.Ingest(t.Context(), "x.json.gz", bytes.NewReader(gzipped(t, 25)), nil); err != nil {
		t.Fatal(err)
	}
	hc := ca.http("ann", "auditor")
	ask := func(path string) (*http.Response, string) {
		t.Helper()
		resp, err := hc.Get("https://" + w.a.Addr() + "/v1/audit/" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(b)
	}
	seen := map[string]bool{}
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		resp, body := ask("search?format=csv&limit=7&federated_user=alice&cursor=" + cursor)
		rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
		if err != nil || resp.StatusCode != http.StatusOK || pages > 3 {
			t.Fatalf("page %d: %s, %v", pages, resp.Status, err)
		}
		id := slices.Index(rows[0], "cloudtrail_event_id")
		for _, row := range rows[1:] {
			if seen[row[id]] {
				t.Errorf("%s came twice", row[id])
			}
			seen[row[id]] = true
		}
		cursor = resp.Header.Get("Postern-Next")
	}
	if len(seen) != 25 {
		t.Errorf("%d records on all pages, want 25", len(seen))
	}
	if _, body := ask("findings?format=parquet"); !strings.HasPrefix(body, "PAR1") || !strings.HasSuffix(body, "PAR1") {
		t.Errorf("findings: %q is no Parquet", body)
	}
	if _, body := ask("coverage?format=csv"); !strings.HasPrefix(body, "verdict,calls,share\r\nmatched,") {
		t.Errorf("coverage: %q is no CSV", body)
	}
	for _, bad := range []string{"search?format=xml", "dead-letters?format=csv"} {
		if resp, body := ask(bad); resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "format: must be json") {
			t.Errorf("%s: %s %s", bad, resp.Status, body)
		}
	}
}

// A parameter that can't be read or is unknown is refused, as without it the answer would
// be about more; and every refusal is a Problem.
func TestAPIRefusals(t *testing.T) {
	w, ca := apiWorld(t)
	hc := ca.http("ann", "auditor")
	for _, x := range []struct {
		method, path string
		status       int
	}{
		{"GET", "search?user=%zz", 400}, {"GET", "search?user=a;b", 400}, {"GET", "search?users=a", 400}, {"GET", "search?user=a&user=b", 400},
		{"GET", "coverage?nope=1", 400}, {"GET", "coverage?since=1h&since=2h", 400}, {"GET", "show/x?foo=bar", 400}, {"GET", "why/x?foo=bar", 400},
		{"GET", "coverage?format=csv&format=json", 400}, {"GET", "bundle?user=a&log_files=maybe", 400}, {"GET", "bundle?user=a&published=1", 400},
		{"GET", "checks?nope=1", 400}, {"GET", "tables?of=1&part=0&nope=1", 400}, {"GET", "leaves?stream=AUDIT&of=stream&after=0&until=1&nope=1", 400},
		{"GET", "events?subject=audit.%3E&follow=maybe", 400}, {"GET", "events?subject=audit.%3E&nope=1", 400}, {"GET", "dead-letters?nope=1", 400},
		{"POST", "ingest?name=x&nope=1", 400}, {"POST", "sql?query=x", 400}, {"GET", "coverage?since=2300-01-01", 400}, {"GET", "search?since=now&until=1h", 400},
		{"GET", "findings?state=OPEN", 400}, {"GET", "search?outcome=unrelated", 200}, {"GET", "coverage?since=1h", 200},
		{"GET", "nothing", 404}, {"DELETE", "search", 405}, {"GET", "show/nothing", 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), x.method, "https://"+w.a.Addr()+"/v1/audit/"+x.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		var p auditor.Problem
		if err := json.Unmarshal(b, &p); err != nil || resp.StatusCode != x.status || resp.Header.Get("Content-Type") != "application/json" || x.status != 200 && p.Error == "" {
			t.Errorf("%s %s: %s %s %s, want %d", x.method, x.path, resp.Status, resp.Header.Get("Content-Type"), b, x.status)
		}
		if x.status == http.StatusMethodNotAllowed && resp.Header.Get("Allow") == "" {
			t.Errorf("%s %s: allows nothing", x.method, x.path)
		}
	}
}

func TestAPIWantsCertificates(t *testing.T) {
	w, ca := apiWorld(t)
	other := newAuthority(t)
	for name, certs := range map[string][]tls.Certificate{"none": nil, "another authority's": {other.issue("admin", "admin")}} {
		c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool(), Certificates: certs}}}
		resp, err := c.Get("https://" + w.a.Addr() + "/v1/audit/coverage")
		if err == nil {
			resp.Body.Close()
			t.Errorf("certificate %s: answered %s", name, resp.Status)
		}
	}
	if _, err := auditor.New(auditor.Config{Journal: w.j, ClickHouseDSN: w.dsn, Listen: "127.0.0.1:0"}); err == nil {
		t.Error("an API without client certificates was accepted")
	}
}

// The watched directory: what turns up is taken in, also what was there before.
func TestWatch(t *testing.T) {
	dir, data := t.TempDir(), t.TempDir()
	write := func(name string, b []byte) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		tmp := filepath.Join(data, "tmp")
		if err := os.WriteFile(tmp, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	write("before.json.gz", gzipped(t, 3))
	write("AWSLogs/1/CloudTrail-Digest/1_CloudTrail-Digest_x.json.gz", []byte("no log file"))
	watch := func(c *auditor.Config) { c.TrailDirs, c.DataDir = []string{dir}, data }
	w := newWorld(t, watch)
	w.until("the first file is in", func() bool { return w.count(`SELECT count() FROM cloudtrail`) == 3 })
	write("AWSLogs/1/CloudTrail/eu-central-1/2026/01/01/after.json.gz", gzipped(t, 10))
	w.until("the second file is in", func() bool { return w.count(`SELECT count() FROM cloudtrail`) == 10 })
	w.stop()
	w.start(watch)
	write("third.json", []byte(`{"Records":[]} and more`))
	w.until("the bad file is set aside", func() bool {
		return w.count(`SELECT count() FROM events WHERE type LIKE 'io.postern.cloudtrail.file.rejected.%'`) == 1
	})
	w.settle("CLOUDTRAIL")
	w.exact("CLOUDTRAIL")
	if n := w.count(`SELECT count() FROM events WHERE stream = 'CLOUDTRAIL'`); n != 13 {
		t.Errorf("%d events after another start, want 10 records, 2 files and a rejection", n)
	}
}

// gzipped is a log file of n records.
func gzipped(t testing.TB, n int) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, `{"Records":[`)
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		if i > 0 {
			_, _ = io.WriteString(z, ",")
		}
		_, _ = z.Write(trail("E"+string(rune('0'+i%10))+strings.Repeat("x", i/10), "Q", "alice", "ASIAOTHER", "GetObject", at).Record)
	}
	_, _ = io.WriteString(z, `]}`)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
