package simaws

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// What people look at first in an account answers with the little that there is, alike
// wherever it is asked for, and is decided and recorded by its own name.
func TestCLIReads(t *testing.T) {
	t.Parallel()
	f := newSim(t, nil)
	cli := newRunner(t, f, "aws")
	cli.must("logs", "create-log-group", "--log-group-name", "/demo/another")
	text := func(args ...string) string {
		return strings.Join(strings.Fields(cli.must(append(args, "--output", "text")...)), " ")
	}
	const arn = ":us-east-1:" + testAccount + ":"
	for _, tc := range []struct {
		args, query, want string
	}{
		{"logs describe-log-groups", "logGroups[].logGroupName", "/aws/lambda/demo /demo/another"},
		{"logs describe-log-groups --log-group-name-prefix /aws/", "logGroups[].[arn,logGroupArn,metricFilterCount]",
			"arn:aws:logs" + arn + "log-group:/aws/lambda/demo:* arn:aws:logs" + arn + "log-group:/aws/lambda/demo 0"},
		{"logs describe-log-groups --log-group-name-pattern ANOTHER", "logGroups[].logGroupName", "/demo/another"},
		{"logs describe-log-groups --page-size 1", "logGroups[].logGroupName", "/aws/lambda/demo /demo/another"},
		{"logs describe-log-groups --region eu-central-1", "logGroups[].logGroupName", "/aws/lambda/demo"},
		{"logs filter-log-events --log-group-name /aws/lambda/demo", "length(events)", "0"},
		{"kms list-keys", "Keys[].KeyArn", "arn:aws:kms" + arn + "key/" + keyID},
		{"secretsmanager list-secrets", "SecretList[].[Name,ARN]", "demo arn:aws:secretsmanager" + arn + "secret:demo-a1b2c3"},
		{"secretsmanager list-secrets --filters Key=name,Values=other", "length(SecretList)", "0"},
		{"ssm get-parameters --names /demo/url none", "[Parameters[].[Value,ARN],InvalidParameters]", "https://demo.example/ arn:aws:ssm" + arn + "parameter/demo/url none"},
		{"ssm get-parameters --names /demo/db/password --with-decryption", "Parameters[].Value", "demo-is-no-secret"},
		{"ssm get-parameter --name /demo/url", "Parameter.Value", "https://demo.example/"},
		{"ssm get-parameters-by-path --path /demo", "Parameters[].Name", "/demo/regions /demo/url"},
		{"ssm get-parameters-by-path --path /demo/ --recursive", "Parameters[].[Name,Type]", "/demo/db/password SecureString /demo/regions StringList /demo/url String"},
		{"ssm get-parameters-by-path --path /dem", "length(Parameters)", "0"},
	} {
		if got := text(append(strings.Fields(tc.args), "--query", tc.query)...); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.args, got, tc.want)
		}
	}
	if out := cli.must("ssm", "get-parameters", "--names", "/demo/db/password"); strings.Contains(out, "demo-is-no-secret") {
		t.Errorf("told without decryption: %s", out)
	}
	for _, tc := range []struct{ args, code string }{
		{"ssm get-parameter --name none", "ParameterNotFound"},
		{"ssm get-parameters-by-path --path demo", "ValidationException"},
		{"secretsmanager list-secrets --filters Key=description,Values=x", "InvalidParameterException"},
		{"logs create-log-group --log-group-name /aws/lambda/demo", "ResourceAlreadyExistsException"},
	} {
		if _, errs, ok := cli.try(strings.Fields(tc.args)...); ok || !strings.Contains(errs, "("+tc.code+")") {
			t.Errorf("%s: %s, want %s", tc.args, errs, tc.code)
		}
	}

	// A session of one parameter gets no more than that.
	out, err := sts.NewFromConfig(f.aws()).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String(testRole), RoleSessionName: aws.String("narrow"),
		Policy: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:GetParameters","Resource":"arn:aws:ssm:*:*:parameter/demo/url"}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	cli.env = append(cli.env, "AWS_ACCESS_KEY_ID="+*out.Credentials.AccessKeyId, "AWS_SECRET_ACCESS_KEY="+*out.Credentials.SecretAccessKey, "AWS_SESSION_TOKEN="+*out.Credentials.SessionToken)
	cli.must("ssm", "get-parameters", "--names", "/demo/url")
	for _, tc := range []struct{ args, of string }{
		{"ssm get-parameters --names /demo/url /demo/regions", "ssm:GetParameters on resource: arn:aws:ssm" + arn + "parameter/demo/regions"},
		{"ssm get-parameters-by-path --path /demo", "ssm:GetParametersByPath on resource: arn:aws:ssm" + arn + "parameter/demo"},
		{"logs describe-log-groups", "logs:DescribeLogGroups on resource: arn:aws:logs" + arn + "log-group:"},
		{"kms list-keys", "kms:ListKeys on resource: *"},
		{"secretsmanager list-secrets", "secretsmanager:ListSecrets on resource: *"},
	} {
		if _, errs, ok := cli.try(strings.Fields(tc.args)...); ok || !strings.Contains(errs, "(AccessDeniedException)") || !strings.Contains(errs, tc.of) {
			t.Errorf("%s: %s, want %s", tc.args, errs, tc.of)
		}
	}
	names := map[string]bool{}
	for _, r := range f.records(t) {
		source, _, _ := strings.Cut(r["eventSource"].(string), ".")
		names[source+":"+r["eventName"].(string)] = true
		if raw, err := json.Marshal(r); err != nil || strings.Contains(string(raw), "demo-is-no-secret") {
			t.Errorf("%v %s", err, raw)
		}
		if name := r["eventName"].(string); r["readOnly"] != true && (strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "List") || strings.HasPrefix(name, "Describe")) {
			t.Errorf("%s is no read", name)
		}
	}
	for _, want := range []string{"logs:DescribeLogGroups", "kms:ListKeys", "secretsmanager:ListSecrets", "ssm:GetParameters", "ssm:GetParameter", "ssm:GetParametersByPath"} {
		if !names[want] {
			t.Errorf("no record of %s: %v", want, names)
		}
	}
}
