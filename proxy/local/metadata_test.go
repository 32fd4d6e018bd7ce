package local_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

// What follows x-amz-meta- is a key of the user's own, which S3 sends in lower case.
func TestMetadataNames(t *testing.T) {
	h := pair(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-amz-meta-a-Key", "B")
		w.Header().Set("ETag", "e")
	})
	env := h.Env()
	pem, err := os.ReadFile(value(t, env, "AWS_CA_BUNDLE"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	raw, err := net.Dial("tcp", h.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	const host = "s3.eu-central-1.amazonaws.com"
	if _, err := raw.Write([]byte("CONNECT " + host + ":443 HTTP/1.1\r\nHost: " + host + ":443\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(bufio.NewReader(raw), nil); err != nil || resp.StatusCode != 200 {
		t.Fatalf("CONNECT: %v %v", resp, err)
	}
	c := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: host})
	if err := sign(t, request(t, "HEAD", "https://"+host+"/bucket/key", nil), env, "s3", emptyHash).Write(c); err != nil {
		t.Fatal(err)
	}
	head, lines := "", bufio.NewReader(c)
	for !strings.HasSuffix(head, "\r\n\r\n") {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after %q", err, head)
		}
		head += line
	}
	if !strings.Contains(head, "\r\nx-amz-meta-a-key: B\r\n") || !strings.Contains(head, "\r\nEtag: e\r\n") {
		t.Errorf("the client reads %q", head)
	}
}
