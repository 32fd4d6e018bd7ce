package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/posternhq/postern/events"
)

// spoken is what the AWS CLI asks in each protocol of AWS, what it has to understand of the
// answer, and what the record has to say of the call.
var spoken = []struct {
	protocol          string
	args              []string
	query, want       string
	operation, action string
	resources         []string
}{
	{"JSON 1.0", []string{"dynamodb", "describe-table", "--table-name", "spoken"}, "Table.TableName", "spoken",
		"DescribeTable", "dynamodb:DescribeTable", []string{"arn:aws:dynamodb:us-east-1:" + devAccount + ":table/spoken"}},
	{"JSON 1.1", []string{"kinesis", "describe-stream-summary", "--stream-name", "spoken"}, "StreamDescriptionSummary.StreamStatus", "ACTIVE",
		"DescribeStreamSummary", "kinesis:DescribeStreamSummary", []string{"arn:aws:kinesis:us-east-1:" + devAccount + ":stream/spoken"}},
	{"RPC v2 CBOR", []string{"cloudwatch", "list-metrics"}, "Metrics[].MetricName", "demo", "ListMetrics", "cloudwatch:ListMetrics", nil},
	{"RPC v2 CBOR", []string{"cloudwatch", "describe-alarms", "--alarm-names", "demo"}, "MetricAlarms[].[AlarmName,Threshold]", "demo\t0.5",
		"DescribeAlarms", "cloudwatch:DescribeAlarms", []string{"arn:aws:cloudwatch:us-east-1:" + devAccount + ":alarm:demo"}},
	{"REST-JSON", []string{"lambda", "list-functions"}, "Functions[].FunctionName", "demo", "ListFunctions", "lambda:ListFunctions", nil},
	{"REST-JSON", []string{"lambda", "get-function", "--function-name", "demo"}, "Configuration.FunctionArn", "arn:aws:lambda:us-east-1:" + devAccount + ":function:demo",
		"GetFunction", "lambda:GetFunction", []string{"arn:aws:lambda:us-east-1:" + devAccount + ":function:demo"}},
	{"REST-JSON", []string{"apigateway", "get-rest-api", "--rest-api-id", "demo"}, "name", "demo",
		"GetRestApi", "apigateway:GET", []string{"arn:aws:apigateway:us-east-1::/restapis/demo"}},
	{"REST-XML", []string{"route53", "list-hosted-zones"}, "HostedZones[].Name", "demo.example.", "ListHostedZones", "route53:ListHostedZones", nil},
	{"REST-XML", []string{"route53", "get-hosted-zone", "--id", "demo"}, "HostedZone.Id", "/hostedzone/demo",
		"GetHostedZone", "route53:GetHostedZone", []string{"arn:aws:route53:::hostedzone/demo"}},
	{"REST-XML", []string{"cloudfront", "list-distributions"}, "DistributionList.Items[].DomainName", "demo.cloudfront.net", "ListDistributions", "cloudfront:ListDistributions", nil},
	{"REST-XML", []string{"cloudfront", "get-distribution", "--id", "demo"}, "Distribution.Status", "Deployed",
		"GetDistribution", "cloudfront:GetDistribution", []string{"arn:aws:cloudfront::" + devAccount + ":distribution/demo"}},
	{"query", []string{"sts", "get-caller-identity"}, "Account", devAccount, "GetCallerIdentity", "sts:GetCallerIdentity", nil},
	{"query", []string{"iam", "get-role", "--role-name", "PosternEngineer"}, "Role.RoleName", "PosternEngineer",
		"GetRole", "iam:GetRole", []string{"arn:aws:iam::" + devAccount + ":role/*PosternEngineer"}},
	{"query", []string{"sns", "get-topic-attributes", "--topic-arn", "arn:aws:sns:us-east-1:" + devAccount + ":demo"}, "Attributes.TopicArn", "arn:aws:sns:us-east-1:" + devAccount + ":demo",
		"GetTopicAttributes", "sns:GetTopicAttributes", []string{"arn:aws:sns:us-east-1:" + devAccount + ":demo"}},
	{"EC2 query", []string{"ec2", "describe-instances", "--filters", "Name=tag:a,Values=ü b+c"}, "length(Reservations)", "0", "DescribeInstances", "ec2:DescribeInstances", nil},
	{"S3", []string{"s3api", "list-objects-v2", "--bucket", "spoken", "--prefix", "a b+ü"}, "Contents[].Key", "a b+ü/c",
		"ListObjectsV2", "s3:ListBucket", []string{"arn:aws:s3:::spoken"}},
}

// failing are calls that AWS itself refuses, in each protocol.
var failing = []struct {
	protocol        string
	args            []string
	operation, code string
}{
	{"JSON", []string{"dynamodb", "describe-table", "--table-name", "none"}, "DescribeTable", "ResourceNotFoundException"},
	{"RPC v2 CBOR", []string{"cloudwatch", "delete-alarms", "--alarm-names", "none"}, "DeleteAlarms", "UnknownOperationException"},
	{"REST-JSON", []string{"lambda", "get-function", "--function-name", "none"}, "GetFunction", "ResourceNotFoundException"},
	{"REST-XML", []string{"route53", "get-hosted-zone", "--id", "none"}, "GetHostedZone", "NoSuchHostedZone"},
	{"query", []string{"iam", "get-role", "--role-name", "none"}, "GetRole", "NoSuchEntity"},
	{"EC2 query", []string{"ec2", "describe-instances", "--instance-ids", "i-00000000000000000"}, "DescribeInstances", "InvalidInstanceID.NotFound"},
	{"S3", []string{"s3api", "get-bucket-policy", "--bucket", "spoken"}, "GetBucketPolicy", "NoSuchBucketPolicy"},
}

// onTheWire is by what the AWS CLI's log shows that it speaks a protocol.
var onTheWire = map[string]string{
	"JSON 1.0":    "application/x-amz-json-1.0",
	"JSON 1.1":    "application/x-amz-json-1.1",
	"RPC v2 CBOR": "rpc-v2-cbor",
	"query":       "application/x-www-form-urlencoded",
	"EC2 query":   "application/x-www-form-urlencoded",
}

// protocols: the AWS CLI understands the answers that come in each protocol, and the
// record has its calls for what they are.
func (c *clients) protocols(t *testing.T) {
	needs(t, "aws", "--version")
	output(t, c.aws(t, "dynamodb", "create-table", "--table-name", "spoken", "--billing-mode", "PAY_PER_REQUEST",
		"--attribute-definitions", "AttributeName=id,AttributeType=S", "--key-schema", "AttributeName=id,KeyType=HASH"))
	output(t, c.aws(t, "kinesis", "create-stream", "--stream-name", "spoken", "--shard-count", "1"))
	output(t, c.aws(t, "s3", "mb", "s3://spoken"))
	output(t, c.aws(t, "s3api", "put-object", "--bucket", "spoken", "--key", "a b+ü/c"))
	t.Run("calls", func(t *testing.T) {
		for _, s := range spoken {
			t.Run(s.protocol+" "+s.args[0]+" "+s.args[1], func(t *testing.T) {
				t.Parallel()
				cmd := c.speaks(t, s.protocol, append(slices.Clone(s.args), "--query", s.query, "--output", "text")...)
				var out, log strings.Builder
				cmd.Stdout, cmd.Stderr = &out, &log
				if err := cmd.Run(); err != nil {
					t.Fatalf("%v\n%s", err, lastLines(log.String()))
				}
				if got := strings.TrimSuffix(out.String(), "\n"); got != s.want {
					t.Errorf("understood as %q, want %q", got, s.want)
				}
				if on, ok := onTheWire[s.protocol]; ok && !strings.Contains(log.String(), on) { // others are told by their paths alone
					t.Errorf("nothing in the log is of %s", s.protocol)
				}
				once(t, log.String())
				done := c.completion(requestIDIn(log.String()))
				if done == nil {
					t.Fatalf("the record does not have the call of id %q", requestIDIn(log.String()))
				}
				c.mu.Lock()
				admitted := c.admitted[done.RequestID]
				c.mu.Unlock()
				if admitted == nil {
					t.Fatal("completed, but not admitted")
				}
				for what, r := range map[string]*events.AWSRequest{"admitted": &admitted.AWSRequest, "completed": &done.AWSRequest} {
					if r.User != "alice" || r.Operation != s.operation || r.Action != s.action || !slices.Equal(r.Resources, s.resources) {
						t.Errorf("%s as %s %s on %q of %s, want %s %s on %q", what, r.Operation, r.Action, r.Resources, r.User, s.operation, s.action, s.resources)
					}
				}
			})
		}
	})
	t.Run("errors", func(t *testing.T) {
		for _, f := range failing {
			t.Run(f.protocol, func(t *testing.T) {
				t.Parallel()
				log, code := exitOf(c.speaks(t, f.protocol, f.args...))
				if want := fmt.Sprintf("An error occurred (%s) when calling the %s operation: ", f.code, f.operation); (code != 254 && code != 255) || !strings.Contains(log, want) {
					t.Errorf("exit code %d, want %q, got\n%s", code, want, lastLines(log))
				}
				once(t, log)
				if done := c.completion(requestIDIn(log)); done == nil || done.Operation != f.operation || done.AWSErrorCode != f.code || done.Status < 400 {
					t.Errorf("recorded as %+v", done)
				}
			})
		}
	})
}

// speaks is `postern aws` with --debug, in a protocol.
func (c *clients) speaks(t *testing.T, protocol string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := c.aws(t, append(slices.Clone(args), "--debug")...)
	if protocol == "RPC v2 CBOR" {
		cmd.Env = append(cmd.Env, "AWS_DATA_PATH="+cborModels(t, args[0]))
	}
	return cmd
}

// cborModels is a directory for AWS_DATA_PATH with the AWS CLI's own model of a service,
// which then speaks RPC v2 CBOR: botocore 1.43 knows the protocol, and takes JSON wherever a
// service has both (PRIORITY_ORDERED_SUPPORTED_PROTOCOLS in its utils.py).
func cborModels(t *testing.T, service string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "python3", "testdata/clients/cbor_model.py", service, dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("botocore can't be made to speak CBOR: %v\n%s", err, lastLines(string(out)))
	}
	if found, err := filepath.Glob(filepath.Join(dir, service, "*", "service-2.json")); err != nil || len(found) != 1 {
		t.Fatalf("the model of %s is not in %s: %v", service, dir, err)
	}
	return dir
}

// once checks by the AWS CLI's own --debug log that it asked once.
func once(t *testing.T, log string) {
	t.Helper()
	if n := strings.Count(log, "Sending http request: "); n != 1 || strings.Contains(log, "Retry needed") {
		t.Errorf("the AWS CLI sent %d requests, want one", n)
	}
}

var headerID = regexp.MustCompile(`(?i)'x-amzn?-request-?id': '([^']+)'`)

// requestIDIn is the request's id as the log of the AWS CLI has it, "" if it has none.
func requestIDIn(log string) string {
	_, headers, _ := strings.Cut(log, "Response headers: ")
	if m := headerID.FindStringSubmatch(headers); m != nil {
		return m[1]
	}
	return ""
}
