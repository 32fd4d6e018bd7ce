package local_test

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// objects is as much of S3 as `aws s3 cp` needs, its objects in files.
type objects struct {
	t    *testing.T
	dir  string
	mu   sync.Mutex
	peak uint64 // bytes of heap in use at any request
}

const partSize = 8 << 20 // the AWS CLI's

func (o *objects) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.measure()
	q := r.URL.Query()
	name := filepath.Join(o.dir, hex.EncodeToString([]byte(r.Host+r.URL.Path)))
	switch {
	case r.Header.Get("X-Amz-Target") == "DynamoDB_20120810.GetItem":
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		fmt.Fprint(w, `{"Item":{"id":{"S":"one"}}}`)
	case r.Method == "POST" && q.Has("uploads"):
		fmt.Fprint(w, `<InitiateMultipartUploadResult><UploadId>U1</UploadId></InitiateMultipartUploadResult>`)
	case r.Method == "POST" && q.Has("uploadId"):
		fmt.Fprint(w, `<CompleteMultipartUploadResult><ETag>"x"</ETag></CompleteMultipartUploadResult>`)
	case r.Method == "PUT":
		n, err := strconv.Atoi(q.Get("partNumber"))
		if err != nil {
			n = 1
		}
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = io.Copy(io.NewOffsetWriter(f, int64(n-1)*partSize), plainBody(r))
			f.Close()
		}
		if err != nil {
			o.t.Error(err)
		}
		w.Header().Set("ETag", `"x"`)
	default:
		w.Header().Set("ETag", `"x"`)
		http.ServeFile(w, r, name)
	}
	o.measure()
}

func (o *objects) measure() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.peak = max(o.peak, m.HeapInuse)
}

// plainBody takes the aws-chunked framing off a body.
func plainBody(r *http.Request) io.Reader {
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return r.Body
	}
	pr, pw := io.Pipe()
	go func() {
		br := bufio.NewReader(r.Body)
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				pw.CloseWithError(fmt.Errorf("chunk: %w", err))
				return
			}
			size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
			n, err := strconv.ParseInt(size, 16, 64)
			if err != nil || n == 0 {
				_, _ = io.Copy(io.Discard, br) // trailers
				pw.CloseWithError(err)
				return
			}
			if _, err := io.CopyN(pw, br, n); err != nil {
				pw.CloseWithError(err)
				return
			}
			_, _ = br.Discard(2)
		}
	}()
	return pr
}

func needs(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Skipf("%s is needed: %v\n%s", name, err, out)
	}
}

// random writes a file of n bytes and gives its hash.
func random(t *testing.T, path string, n int64) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, h), rand.Reader, n); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func hashFile(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// command runs a real client in the helper's environment.
func command(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_EC2_METADATA_DISABLED=true"}, env...)
	if v, ok := os.LookupEnv("PYENV_ROOT"); ok {
		cmd.Env = append(cmd.Env, "PYENV_ROOT="+v)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// The AWS CLI and boto3 carry files up and down unchanged, and the helper (with
// the stand-in, in this process) holds a small part of them at any time.
func TestRealClients(t *testing.T) {
	const size = 200 << 20
	o := &objects{t: t, dir: t.TempDir()}
	h := pair(t, o.ServeHTTP)
	var env []string
	for _, v := range h.Env() {
		env = append(env, v.Name+"="+v.Value)
	}
	up, down := filepath.Join(t.TempDir(), "up"), filepath.Join(t.TempDir(), "down")
	want := random(t, up, size)
	t.Run("aws s3 cp", func(t *testing.T) {
		needs(t, "aws", "--version")
		command(t, env, "aws", "s3", "cp", "--no-progress", up, "s3://bucket/dir/a key+ü.bin")
		command(t, env, "aws", "s3", "cp", "--no-progress", "s3://bucket/dir/a key+ü.bin", down)
		if got := hashFile(t, down); got != want {
			t.Error("the file came back changed")
		}
	})
	t.Run("boto3", func(t *testing.T) {
		needs(t, "python3", "-c", "import boto3")
		if out := command(t, env, "python3", "testdata/transfer.py", up, down); strings.TrimSpace(out) != "one" {
			t.Errorf("dynamodb: %s", out)
		}
		if got := hashFile(t, down); got != want {
			t.Error("the file came back changed")
		}
	})
	if o.peak > 64<<20 {
		t.Errorf("%d MiB of heap in use while %d MiB passed", o.peak>>20, size>>20)
	}
	t.Logf("peak heap in use %d MiB", o.peak>>20)
}

// A wrong secret is told as such, at once, as AWS's service itself does.
func TestRealClientRefused(t *testing.T) {
	needs(t, "aws", "--version")
	h := pair(t, func(http.ResponseWriter, *http.Request) { t.Error("forwarded") })
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_REGION=eu-central-1"}
	for _, v := range h.Env() {
		if v.Name != "AWS_SECRET_ACCESS_KEY" {
			env = append(env, v.Name+"="+v.Value)
		}
	}
	for call, code := range map[string]string{
		"s3 ls": "SignatureDoesNotMatch", "sts get-caller-identity": "SignatureDoesNotMatch",
		"dynamodb list-tables": "InvalidSignatureException", "ec2 describe-instances": "AuthFailure",
	} {
		cmd := exec.CommandContext(t.Context(), "aws", strings.Fields(call)...)
		cmd.Env = append(env, "AWS_SECRET_ACCESS_KEY=wrong")
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "("+code+")") || !strings.Contains(string(out), "postern exec") {
			t.Errorf("aws %s: %v\n%s", call, err, out)
		}
	}
}
