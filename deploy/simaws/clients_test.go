package simaws

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// connectProxy is the least HTTPS_PROXY that leads every AWS host to the
// simulation; other hosts it refuses.
func connectProxy(t *testing.T, s *Sim) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { tunnel(conn, s.Addr()) })
		}
	})
	return "http://" + ln.Addr().String()
}

func tunnel(conn net.Conn, addr string) {
	defer conn.Close()
	br := bufio.NewReader(conn)
	req, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	if _, ok := parseHost(req.Host); !ok || req.Method != http.MethodConnect {
		io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\n\r\n")
		return
	}
	up, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer up.Close()
	io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(up, br)
		up.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(conn, up)
	conn.Close() // ends the other direction too
	<-done
}

// env is a clean environment in which AWS clients reach the simulation.
func (f *fixture) env(t *testing.T, proxy string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "HTTPS_PROXY=" + proxy, "AWS_CA_BUNDLE=" + f.CAFile(),
		"AWS_ACCESS_KEY_ID=" + f.key.ID, "AWS_SECRET_ACCESS_KEY=" + f.key.Secret, "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "AWS_MAX_ATTEMPTS=1", "PYENV_VERSION=" + os.Getenv("PYENV_VERSION"), "PYENV_ROOT=" + os.Getenv("PYENV_ROOT"), "LC_ALL=C.UTF-8"}
}

// runner runs one client program in that environment.
type runner struct {
	t   *testing.T
	env []string
	bin string
}

func newRunner(t *testing.T, f *fixture, bin string) *runner {
	t.Helper()
	path, err := exec.LookPath(bin)
	if err != nil {
		t.Skipf("%s is not on PATH: %v", bin, err)
	}
	return &runner{t, f.env(t, connectProxy(t, f.Sim)), path}
}

// try returns stdout, stderr and whether the program ended with 0.
func (r *runner) try(args ...string) (string, string, bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.bin, args...)
	cmd.Env = r.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		r.t.Fatalf("%s %q did not end: %s", r.bin, args, errs.String())
	}
	return out.String(), errs.String(), err == nil
}

func (r *runner) must(args ...string) string {
	r.t.Helper()
	out, errs, ok := r.try(args...)
	if !ok {
		r.t.Fatalf("%q: %s", args, errs)
	}
	return out
}

func writeRandom(t *testing.T, size int) (name string, data []byte) {
	t.Helper()
	data = make([]byte, size)
	rand.Read(data)
	name = filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name, data
}

// TestCLI uses the AWS CLI on every protocol that is simulated.
func TestCLI(t *testing.T) {
	t.Parallel()
	f := newSim(t, nil)
	cli := newRunner(t, f, "aws")
	if err := f.PutInstances(Instance{Account: testAccount, Region: "us-east-1", ID: "i-0123456789abcdef0", Tags: map[string]string{"Name": "web"}}); err != nil {
		t.Fatal(err)
	}
	// Some installations of the CLI are wrappers that need more than this
	// environment; then there is nothing to test here.
	if out, errs, ok := cli.try("--version"); !ok {
		t.Skipf("aws does not run: %s %s", out, errs)
	}

	var me struct{ Account, Arn, UserId string }
	if err := json.Unmarshal([]byte(cli.must("sts", "get-caller-identity")), &me); err != nil {
		t.Fatal(err)
	}
	if me.Arn != "arn:aws:iam::111122223333:user/postern" || me.Account != testAccount {
		t.Errorf("caller %+v", me)
	}

	cli.must("s3", "mb", "s3://cli-bucket")
	big, data := writeRandom(t, 20<<20)
	// 8 MiB is the CLI's multipart threshold: this goes up in parts and comes
	// down in ranges.
	cli.must("s3", "cp", big, "s3://cli-bucket/dir/big file+é", "--only-show-errors")
	back := filepath.Join(t.TempDir(), "back")
	cli.must("s3", "cp", "s3://cli-bucket/dir/big file+é", back, "--only-show-errors")
	if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, data) {
		t.Errorf("20 MiB came back as %d bytes, %v", len(got), err)
	}
	for _, key := range []string{"a//b", "100%"} {
		cli.must("s3api", "put-object", "--bucket", "cli-bucket", "--key", key, "--body", big)
	}
	var list struct{ Contents []struct{ Key string } }
	if err := json.Unmarshal([]byte(cli.must("s3api", "list-objects-v2", "--bucket", "cli-bucket")), &list); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, o := range list.Contents {
		keys = append(keys, o.Key)
	}
	if diff := cmp.Diff([]string{"100%", "a//b", "dir/big file+é"}, keys); diff != "" {
		t.Error(diff)
	}
	cli.must("configure", "set", "default.s3.signature_version", "s3v4") // SigV2 otherwise, in CLI v1
	signed := strings.TrimSpace(cli.must("s3", "presign", "s3://cli-bucket/100%"))
	res, err := f.client.Get(signed)
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, res.Body); got != string(data) {
		t.Errorf("presigned: %d, %d bytes", res.StatusCode, len(got))
	}
	if _, errs, ok := cli.try("s3api", "get-bucket-policy", "--bucket", "cli-bucket"); ok || !strings.Contains(errs, "NoSuchBucketPolicy") {
		t.Errorf("get-bucket-policy: %s", errs)
	}
	cli.must("s3", "rb", "s3://cli-bucket", "--force")

	if out := cli.must("ec2", "describe-instances", "--filters", "Name=tag:Name,Values=w*", "--query", "Reservations[].Instances[].[InstanceId,State.Name]", "--output", "text"); out != "i-0123456789abcdef0\trunning\n" {
		t.Errorf("describe-instances: %q", out)
	}
	if out := cli.must("ec2", "terminate-instances", "--instance-ids", "i-0123456789abcdef0", "--query", "TerminatingInstances[].CurrentState.Name", "--output", "text"); out != "shutting-down\n" {
		t.Errorf("terminate-instances: %q", out)
	}
	if _, errs, ok := cli.try("ec2", "describe-instances", "--instance-ids", "i-00000000000000000"); ok || !strings.Contains(errs, "InvalidInstanceID.NotFound") {
		t.Errorf("describe-instances of nothing: %s", errs)
	}
	if _, errs, ok := cli.try("ec2", "describe-vpcs"); ok || !strings.Contains(errs, "(InvalidAction)") {
		t.Errorf("what is not simulated: %s", errs)
	}
	if _, errs, ok := cli.try("secretsmanager", "get-random-password"); ok || !strings.Contains(errs, "(UnknownOperationException)") {
		t.Errorf("what is not simulated: %s", errs)
	}
	if _, errs, ok := cli.try("lambda", "list-layers"); ok || !strings.Contains(errs, "(UnknownOperationException)") {
		t.Errorf("what is not simulated: %s", errs)
	}
	if _, errs, ok := cli.try("cloudwatch", "list-dashboards"); ok || !strings.Contains(errs, "(UnknownOperationException)") {
		t.Errorf("what is not simulated: %s", errs)
	}
	cli.must("sqs", "create-queue", "--queue-name", "jobs")
	if out := cli.must("sqs", "list-queues", "--query", "QueueUrls", "--output", "text"); !strings.HasSuffix(out, "/jobs\n") {
		t.Errorf("list-queues: %q", out)
	}
	if out := cli.must("iam", "get-role", "--role-name", "Reader", "--query", "Role.Arn", "--output", "text"); out != testRole+"\n" {
		t.Errorf("get-role: %q", out)
	}

	names := map[string]int{}
	for _, r := range f.records(t) {
		name := r["eventName"].(string)
		if code, ok := r["errorCode"].(string); ok {
			name += " " + code
		}
		names[name]++
		if agent := strings.Trim(r["userAgent"].(string), "[]"); !strings.HasPrefix(agent, "aws-cli/") && r["eventName"] != "GetObject" {
			t.Errorf("%s by %q", r["eventName"], agent)
		}
	}
	for name, want := range map[string]int{"GetCallerIdentity": 1, "CreateBucket": 1, "CreateMultipartUpload": 1, "UploadPart": 3, "CompleteMultipartUpload": 1,
		"HeadObject": 1, "GetObject": 4, "PutObject": 2, "ListObjects": 2, "GetBucketPolicy NoSuchBucketPolicy": 1, "DeleteObject": 3, "DeleteBucket": 1,
		"DescribeInstances": 1, "TerminateInstances": 1, "DescribeInstances Client.InvalidInstanceID.NotFound": 1, "DescribeVpcs Client.InvalidAction": 1,
		"GetRandomPassword UnknownOperationException": 1, "ListDashboards UnknownOperationException": 1, "CreateQueue": 1, "ListQueues": 1, "GetRole": 1} {
		if names[name] != want {
			t.Errorf("%d records of %s, want %d (all: %v)", names[name], name, want, names)
		}
	}
}

func TestCLIDynamoDB(t *testing.T) {
	t.Parallel()
	f := newSim(t, nil)
	if err := f.PutTable(Table{Account: testAccount, Region: "us-east-1", Name: "orders", Hash: "customer", Range: "at", Items: []map[string]any{
		{"customer": map[string]any{"S": "c1"}, "at": map[string]any{"S": "2026-01"}, "n": map[string]any{"N": "1"}}}}); err != nil {
		t.Fatal(err)
	}
	cli := newRunner(t, f, "aws")
	for _, at := range []string{"2026-02", "2026-03", "2027-01"} {
		cli.must("dynamodb", "put-item", "--table-name", "orders", "--item", `{"customer":{"S":"c1"},"at":{"S":"`+at+`"}}`)
	}
	text := func(args ...string) string {
		return strings.Join(strings.Fields(cli.must(append([]string{"dynamodb"}, append(args, "--output", "text")...)...)), " ")
	}
	query := func(expr, values string, more ...string) string {
		return text(append([]string{"query", "--table-name", "orders", "--key-condition-expression", expr, "--expression-attribute-names", `{"#at":"at"}`,
			"--expression-attribute-values", values, "--query", "Items[].at.S"}, more...)...)
	}
	for _, tc := range []struct{ expr, values, want string }{
		{"customer = :c AND begins_with(#at, :p)", `{":c":{"S":"c1"},":p":{"S":"2026"}}`, "2026-01 2026-02 2026-03"},
		{"customer = :c AND #at > :p", `{":c":{"S":"c1"},":p":{"S":"2026-02"}}`, "2026-03 2027-01"},
		{"customer = :c and #at <= :p", `{":c":{"S":"c1"},":p":{"S":"2026-02"}}`, "2026-01 2026-02"},
		{"customer=:c AND #at BETWEEN :a AND :b", `{":c":{"S":"c1"},":a":{"S":"2026-02"},":b":{"S":"2026-12"}}`, "2026-02 2026-03"},
	} {
		if got := query(tc.expr, tc.values); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.expr, got, tc.want)
		}
	}
	if got := query("customer = :c AND #at > :p", `{":c":{"S":"c1"},":p":{"S":"0"}}`, "--no-scan-index-forward", "--max-items", "2"); !strings.HasPrefix(got, "2027-01 2026-03") {
		t.Errorf("backwards: %q", got)
	}
	if got := text("get-item", "--table-name", "orders", "--key", `{"customer":{"S":"c1"},"at":{"S":"2026-01"}}`, "--query", "Item.n.N"); got != "1" {
		t.Errorf("get-item: %q", got)
	}
	if _, errs, ok := cli.try("dynamodb", "put-item", "--table-name", "orders", "--item", `{"customer":{"S":"c1"},"at":{"S":"2026-01"}}`, "--condition-expression", "attribute_not_exists(customer)"); ok || !strings.Contains(errs, "ConditionalCheckFailedException") {
		t.Errorf("conditional put: %s", errs)
	}
	if _, errs, ok := cli.try("dynamodb", "get-item", "--table-name", "nope", "--key", `{"a":{"S":"b"}}`); ok || !strings.Contains(errs, "ResourceNotFoundException") {
		t.Errorf("no such table: %s", errs)
	}
	cli.must("dynamodb", "delete-item", "--table-name", "orders", "--key", `{"customer":{"S":"c1"},"at":{"S":"2026-01"}}`)
	again, err := openTableStore(filepath.Join(f.cfg.Dir, "dynamodb"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if tb := again.all["arn:aws:dynamodb:us-east-1:111122223333:table/orders"]; tb == nil || len(tb.Items) != 3 {
		t.Errorf("after a restart: %+v", tb)
	}
	for _, r := range f.records(t) {
		if r["eventName"] == "GetItem" && r["errorCode"] == nil {
			want := map[string]any{"tableName": "orders", "key": map[string]any{"customer": "c1", "at": "2026-01"}}
			if diff := cmp.Diff(want, r["requestParameters"]); diff != "" || r["eventCategory"] != "Data" {
				t.Errorf("GetItem recorded as %v: %s", r["eventCategory"], diff)
			}
			return
		}
	}
	t.Error("no GetItem on record")
}

// boto is what boto3 does differently: its own transfer manager, streams of
// unknown length, assume-role providers.
const boto = `
import boto3, io, json, os, sys
from boto3.s3.transfer import TransferConfig
role = sys.argv[1]
sts = boto3.client("sts")
c = sts.assume_role(RoleArn=role, RoleSessionName="boto@example.com")["Credentials"]
s = boto3.Session(c["AccessKeyId"], c["SecretAccessKey"], c["SessionToken"])
assert s.client("sts").get_caller_identity()["Arn"].endswith("assumed-role/Reader/boto@example.com")
s3 = s.client("s3", region_name="eu-west-1")
s3.create_bucket(Bucket="boto-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
data = os.urandom(20 << 20)
s3.upload_fileobj(io.BytesIO(data), "boto-bucket", "big", Config=TransferConfig(multipart_chunksize=6 << 20))
got = io.BytesIO(); s3.download_fileobj("boto-bucket", "big", got); assert got.getvalue() == data
for alg in ["CRC32", "SHA1", "SHA256"]:
    s3.put_object(Bucket="boto-bucket", Key=alg, Body=data[:100000], ChecksumAlgorithm=alg)
    assert s3.get_object(Bucket="boto-bucket", Key=alg, ChecksumMode="ENABLED")["Body"].read() == data[:100000]
# A bucket of another region, asked for through the wrong one: boto3 follows.
assert s.client("s3", region_name="us-east-1").head_object(Bucket="boto-bucket", Key="big")["ContentLength"] == len(data)
s3.copy({"Bucket": "boto-bucket", "Key": "big"}, "boto-bucket", "copy", Config=TransferConfig(multipart_threshold=6 << 20, multipart_chunksize=6 << 20))
assert s3.get_object(Bucket="boto-bucket", Key="copy")["Body"].read() == data
for k in json.loads(sys.argv[2]):
    s3.put_object(Bucket="boto-bucket", Key="odd-" + k, Body=k.encode())
    assert s3.get_object(Bucket="boto-bucket", Key="odd-" + k)["Body"].read() == k.encode()
    s3.delete_object(Bucket="boto-bucket", Key="odd-" + k)
for n in s3.get_paginator("list_objects_v2").paginate(Bucket="boto-bucket", PaginationConfig={"PageSize": 2}): print([o["Key"] for o in n["Contents"]])
ddb = s.resource("dynamodb", region_name="us-east-1")
t = ddb.create_table(TableName="boto", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}], AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}])
t.wait_until_exists(); t.put_item(Item={"k": "v", "n": 1}); assert t.get_item(Key={"k": "v"})["Item"]["n"] == 1
print(s.client("ec2", region_name="us-east-1").describe_regions()["Regions"][0]["RegionName"])
`

func TestBoto3(t *testing.T) {
	t.Parallel()
	f := newSim(t, nil)
	py := newRunner(t, f, "python3")
	if _, errs, ok := py.try("-c", "import boto3"); !ok {
		t.Skipf("boto3 is not installed: %s", errs)
	}
	var odd []string
	for _, k := range oddKeys {
		odd = append(odd, k[:min(len(k), 1000)]) // room for the script's prefix
	}
	raw, err := json.Marshal(odd)
	if err != nil {
		t.Fatal(err)
	}
	out := py.must("-c", boto, testRole, string(raw))
	want := "['CRC32', 'SHA1']\n['SHA256', 'big']\n['copy']\neu-central-1\n"
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
	for _, r := range f.records(t) {
		if r["eventName"] == "CompleteMultipartUpload" {
			if r["awsRegion"] != "eu-west-1" || at(r, "userIdentity", "sessionContext", "sessionIssuer", "arn") != testRole {
				t.Errorf("recorded in %v of %v", r["awsRegion"], r["userIdentity"])
			}
			return
		}
	}
	t.Error("no CompleteMultipartUpload on record")
}
