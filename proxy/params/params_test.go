package params_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/posternhq/postern/proxy/params"
)

func table(t testing.TB) *params.Table {
	t.Helper()
	x, err := params.New()
	if err != nil {
		t.Fatal(err)
	}
	return x
}

const (
	form     = "application/x-www-form-urlencoded; charset=utf-8"
	awsJSON  = "application/x-amz-json-1.1"
	restJSON = "application/json"
)

func TestOf(t *testing.T) {
	x := table(t)
	item := string(cbor.Encode(cbor.Map{"TableName": cbor.String("t"), "Secret": cbor.String("s3cr3t"), "N": cbor.Uint(7), "L": cbor.List{cbor.Bool(true), cbor.Slice("ab")}}))
	for _, c := range []struct{ name, service, operation, query, kind, body, want string }{
		{"query protocol", "iam", "CreateLoginProfile", "", form, "Action=CreateLoginProfile&Version=2010-05-08&UserName=bob&Password=s3cr3t&PasswordResetRequired=true",
			`{"Password":"[redacted]","PasswordResetRequired":"[redacted]","UserName":"bob"}`},
		{"EC2", "ec2", "RunInstances", "", form, "Action=RunInstances&ImageId=ami-1&UserData=czNjcjN0&TagSpecification.1.Tag.1.Key=team&TagSpecification.1.Tag.1.Value=red",
			`{"ImageId":"ami-1","TagSpecification.1.Tag.1.Key":"team","TagSpecification.1.Tag.1.Value":"red","UserData":"[redacted]"}`},
		{"stack parameters", "cloudformation", "CreateStack", "", form, "StackName=s&Parameters.member.1.ParameterKey=DBPassword&Parameters.member.1.ParameterValue=s3cr3t&Parameters.member.2.ParameterKey=Size&Parameters.member.2.ParameterValue=small",
			`{"Parameters.member.1.ParameterKey":"DBPassword","Parameters.member.1.ParameterValue":"[redacted]","Parameters.member.2.ParameterKey":"Size","Parameters.member.2.ParameterValue":"small","StackName":"s"}`},
		{"JSON", "secretsmanager", "PutSecretValue", "", awsJSON, `{"SecretId":"prod/db","SecretString":"s3cr3t","ClientRequestToken":"c","VersionStages":["A"]}`,
			`{"ClientRequestToken":"c","SecretId":"prod/db","SecretString":"[redacted]","VersionStages":["A"]}`},
		{"sensitive by model alone", "ssm", "PutParameter", "", awsJSON, `{"Name":"/a","Value":"s3cr3t","Type":"SecureString","Tier":"Standard"}`,
			`{"Name":"/a","Tier":"Standard","Type":"SecureString","Value":"[redacted]"}`},
		{"options", "elasticbeanstalk", "CreateEnvironment", "", form, "OptionSettings.member.1.Namespace=aws:rds:dbinstance&OptionSettings.member.1.OptionName=DBPassword&OptionSettings.member.1.Value=s3cr3t&OptionSettings.member.2.OptionName=DBUser&OptionSettings.member.2.Value=admin",
			`{"OptionSettings.member.1.Namespace":"aws:rds:dbinstance","OptionSettings.member.1.OptionName":"DBPassword","OptionSettings.member.1.Value":"[redacted]","OptionSettings.member.2.OptionName":"DBUser","OptionSettings.member.2.Value":"admin"}`},
		{"options in JSON", "x", "X", "", awsJSON, `{"o":[{"SettingName":"db-password","SettingValue":"s3cr3t"},{"VariableKey":"api_token","Value":"s3cr3t"},{"SettingName":"size","SettingValue":"7"}]}`,
			`{"o":[{"SettingName":"db-password","SettingValue":"[redacted]"},{"Value":"[redacted]","VariableKey":"api_token"},{"SettingName":"size","SettingValue":"7"}]}`},
		{"a presigned address", "cloudformation", "CreateStack", "", form, "StackName=s&TemplateURL=https%3A%2F%2Fb.s3.amazonaws.com%2Ft.json%3FversionId%3D7%26X-Amz-Security-Token%3Ds3cr3t%252F%26X-Amz-Signature%3Ds3cr3t%23x",
			`{"StackName":"s","TemplateURL":"https://b.s3.amazonaws.com/t.json?versionId=7\u0026X-Amz-Security-Token=[redacted]\u0026X-Amz-Signature=[redacted]#x"}`},
		{"other addresses", "x", "X", "", awsJSON, `{"a":"jdbc:postgresql://admin:s3cr3t@db/x?user=u&password=s3cr3t","b":"see https://h/?access_token=s3cr3t, and https://u@h/p?Signature=s3cr3t&next_token=n","c":"x?token=y"}`,
			`{"a":"jdbc:postgresql://admin:[redacted]@db/x?user=u\u0026password=[redacted]","b":"see https://h/?access_token=[redacted] and https://u@h/p?Signature=[redacted]\u0026next_token=n","c":"x?token=y"}`},
		{"JSON in a text", "sqs", "SendMessage", "", awsJSON, `{"MessageBody":" {\"user\":\"bob\",\"auth\":{\"password\":\"s3cr3t\"}}","Detail":"{ \"a\":1}","Other":"{no"}`,
			`{"Detail":"{ \"a\":1}","MessageBody":"{\"auth\":{\"password\":\"[redacted]\"},\"user\":\"bob\"}","Other":"{no"}`},
		{"JSON by lines in a text", "sqs", "SendMessage", "", awsJSON, `{"MessageBody":"{\"password\":\"s3cr3t\"}\n{\"a\": 1}\n{\"token\":\"s3cr3t\"}\n no","Other":"{\"a\": 1}\n{\"b\": 2}\n"}`,
			`{"MessageBody":"{\"password\":\"[redacted]\"}\n{\"a\": 1}\n{\"token\":\"[redacted]\"}\n no","Other":"{\"a\": 1}\n{\"b\": 2}\n"}`},
		{"headers and short names", "apigateway", "PutIntegration", "", restJSON, `{"requestParameters":{"integration.request.header.Authorization":"'Basic s3cr3t'"},"h":[{"Key":"Proxy-Authorization","Value":"s3cr3t"}],"DbPwd":"s3cr3t","bearer":"s3cr3t","authorizationType":"NONE"}`,
			`{"DbPwd":"[redacted]","authorizationType":"NONE","bearer":"[redacted]","h":[{"Key":"Proxy-Authorization","Value":"[redacted]"}],"requestParameters":{"integration.request.header.Authorization":"[redacted]"}}`},
		{"nested", "rds", "X", "", awsJSON, `{"a":[{"MasterUserPassword":"s3cr3t","n":1.50},{"Name":"api-key","Value":"s3cr3t"}],"Environment":{"Variables":{"DB_PASSWORD":"s3cr3t","HOST":"h"}}}`,
			`{"Environment":{"Variables":{"DB_PASSWORD":"[redacted]","HOST":"h"}},"a":[{"MasterUserPassword":"[redacted]","n":1.50},{"Name":"api-key","Value":"[redacted]"}]}`},
		{"environment of a function", "lambda", "UpdateFunctionConfiguration", "", restJSON, `{"Timeout":3,"Environment":{"Variables":{"HOST":"s3cr3t"}}}`,
			`{"Environment":{"Variables":"[redacted]"},"Timeout":3}`},
		{"opaque body", "lambda", "Invoke", "Qualifier=live", restJSON, `{"s3cr3t":true}`, `{"":"[not recorded]","Qualifier":"live"}`},
		{"CBOR", "x", "X", "", "application/cbor", item, `{"L":[true,"YWI="],"N":7,"Secret":"[redacted]","TableName":"t"}`},
		{"presigned URL", "s3", "GetObject", "X-Amz-Signature=s3cr3t&X-Amz-Security-Token=s3cr3t&versionId=7&x-id=GetObject", "", "", `{"versionId":"7","x-id":"GetObject"}`},
		{"signature version 2", "s3", "GetObject", "AWSAccessKeyId=s3cr3t&Signature=s3cr3t&Expires=1", "", "", `null`},
		{"XML", "route53", "ChangeResourceRecordSets", "", "text/xml", "<s3cr3t/>", `{"":"[not recorded]"}`},
		{"no JSON", "x", "X", "", awsJSON, `{"s3cr3t":`, `{"":"[not recorded]"}`},
		{"two documents", "x", "X", "", awsJSON, `{"a":1}{"s3cr3t":2}`, `{"":"[not recorded]"}`},
		{"no object", "x", "X", "", awsJSON, `["s3cr3t"]`, `{"":"[not recorded]"}`},
		{"unknown operation", "x", "", "a=s3cr3t", awsJSON, `{"s3cr3t":2}`, `null`},
		{"long text", "x", "X", "", awsJSON, `{"a":"` + strings.Repeat("é", 600) + `"}`, `{"a":"` + strings.Repeat("é", 512) + `… (1200 bytes)"}`},
		{"too much", "x", "X", "", awsJSON, `{"b":[` + strings.Repeat("1,", 10_000) + `1]}`, `{"b":"[not recorded]"}`},
	} {
		got := x.Of(&params.Input{Service: c.service, Operation: c.operation, RawQuery: c.query, ContentType: c.kind, Body: []byte(c.body), Whole: true})
		if got == nil {
			got = json.RawMessage("null")
		}
		if string(got) != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if bytes.Contains(got, []byte("s3cr3t")) {
			t.Errorf("%s: a secret is recorded", c.name)
		}
	}
	if got := x.Of(&params.Input{Service: "x", Operation: "X", ContentType: awsJSON, Body: []byte(`{"a":`)}); string(got) != `{"":"[not recorded]"}` {
		t.Errorf("the beginning of a body: %s", got)
	}
}

func FuzzOf(f *testing.F) {
	x := table(f)
	f.Add("a=1&Tag.1.Key=Password&Tag.1.Value=x", awsJSON, []byte(`{"a":[{"b":1e400}]}`))
	f.Add("", form, []byte("Password=%zz"))
	f.Add("", "application/cbor", cbor.Encode(cbor.Map{"a": cbor.Float64(1), "b": cbor.NegInt(1)}))
	f.Fuzz(func(t *testing.T, query, kind string, body []byte) {
		got := x.Of(&params.Input{Service: "iam", Operation: "CreateLoginProfile", RawQuery: query, ContentType: kind, Body: body, Whole: true})
		if got != nil && (!json.Valid(got) || len(got) > 16<<10) {
			t.Errorf("%d bytes: %.200s", len(got), got)
		}
		var m map[string]any
		if json.Unmarshal(got, &m) == nil {
			if v, ok := m["Password"]; ok && v != params.Redacted && v != params.Omitted {
				t.Errorf("the password is %v", v)
			}
		}
	})
}
