package awsreq

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFunctionNames: functions are named in all the ways that Lambda's API reference has
// ("Name formats" of Invoke), and as IAM compares them.
func TestFunctionNames(t *testing.T) {
	tab := newTable(t)
	const front, other = "arn:aws:lambda:us-east-1:" + account + ":function:", "arn:aws:lambda:us-east-1:999999999999:function:"
	for _, c := range []struct{ operation, name, query, want string }{
		{"invocations", "f", "", front + "f"},
		{"invocations", "f:prod", "", front + "f:prod"},
		{"invocations", "f:$LATEST", "", front + "f:$LATEST"},
		{"invocations", "f", "Qualifier=prod", front + "f:prod"},
		{"invocations", "f", "Qualifier=%24LATEST", front + "f:$LATEST"},
		{"invocations", "f:prod", "Qualifier=prod", front + "f:prod"},
		{"invocations", "f:prod", "Qualifier=dev", ""},
		{"invocations", "f", "Qualifier=dev%20", ""},
		{"invocations", "f", "Qualifier=*", ""},
		{"invocations", "function:f", "", front + "f"},
		{"invocations", account + ":function:f", "", front + "f"},
		{"invocations", account + ":function:f:2", "", front + "f:2"},
		{"invocations", account + ":f", "", front + "f"},
		{"invocations", "999999999999:function:f", "", other + "f"},
		{"invocations", "999999999999:f:prod", "", other + "f:prod"},
		{"invocations", "us-east-1:999999999999:function:f", "", other + "f"},
		{"invocations", "us-west-2:999999999999:function:f", "", ""},
		{"invocations", other + "f", "", other + "f"},
		{"invocations", other + "f", "Qualifier=prod", other + "f:prod"},
		{"invocations", other + "f:prod", "Qualifier=prod", other + "f:prod"},
		{"invocations", "arn:aws-cn:lambda:cn-north-1:999999999999:function:f", "", ""},
		{"invocations", "arn:aws:lambda:f", "", ""},
		{"invocations", "f ", "", ""}, {"invocations", " f:prod", "", ""}, {"invocations", "f:", "", ""}, {"invocations", "f:a:b", "", ""},
		{"invocations", "f:*", "", ""}, {"invocations", "f:$OTHER", "", ""}, {"invocations", "99:function:f", "", ""}, {"invocations", "f\n", "", ""},
		// IAM's comparison is documented for some operations only.
		{"configuration", "f", "Qualifier=2", front + "f:2 " + front + "f"},
		{"configuration", "f:2", "", front + "f:2 " + front + "f"},
	} {
		method := map[string]string{"invocations": "POST ", "configuration": "GET "}[c.operation]
		in := request(t, tab, method+"https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/"+strings.ReplaceAll(url.QueryEscape(c.name), "+", "%20")+"/"+c.operation+"?"+c.query, nil, "")
		r := tab.Recognize(in)
		if diff := cmp.Diff(c.want, strings.Join(r.Resources, " ")); diff != "" || r.Operation == "" {
			t.Errorf("%s of %q, %s (%s): %s", c.operation, c.name, c.query, r.Operation, diff)
		}
	}
}

// TestSpaces: where people choose names, they choose spaces.
func TestSpaces(t *testing.T) {
	tab := newTable(t)
	const iot = "arn:aws:iot:us-east-1:" + account + ":topic/"
	alarm := func(name string) *Input {
		return request(t, tab, "POST https://monitoring.us-east-1.amazonaws.com/", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
			"Action=EnableAlarmActions&Version=2010-08-01&AlarmNames.member.1="+url.QueryEscape(name))
	}
	topic := func(name string) *Input {
		return request(t, tab, "POST https://a1-ats.iot.us-east-1.amazonaws.com/topics/"+strings.ReplaceAll(url.QueryEscape(name), "+", "%20"), nil, "x")
	}
	glue := func(name string) *Input {
		return request(t, tab, "POST https://glue.us-east-1.amazonaws.com/", http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"AWSGlue.StartJobRun"}}, `{"JobName":"`+name+`"}`)
	}
	const alarms, jobs = "arn:aws:cloudwatch:us-east-1:" + account + ":alarm:", "arn:aws:glue:us-east-1:" + account + ":job/"
	for _, c := range []struct {
		in   *Input
		want string
	}{
		{alarm("CPU high"), alarms + "CPU high"},
		{alarm("Cost > $100"), alarms + "Cost > $100"},
		{alarm("größer als"), alarms + "größer als"},
		{alarm("CPU high "), ""}, {alarm(" CPU high"), ""}, {alarm("CPU  high"), ""}, {alarm("CPU\thigh"), ""}, {alarm("CPU\nhigh"), ""},
		{alarm("CPU\u00a0high"), ""}, {alarm("CPU\u2003high"), ""}, {alarm("CPU high\x00"), ""}, {alarm("CPU *"), ""}, {alarm("CPU ?"), ""}, {alarm("a \xff"), ""},
		{topic("a/b c"), iot + "a/b c"},
		{topic("$aws/things/t/shadow/update"), iot + "$aws/things/t/shadow/update"},
		{topic("a/b c "), ""}, {topic("${x} y"), ""},
		{glue("nightly load"), jobs + "nightly load"},
		{glue("a $b"), ""},
	} {
		r := tab.Recognize(c.in)
		if diff := cmp.Diff(c.want, strings.Join(r.Resources, "|")); diff != "" || r.Operation == "" {
			t.Errorf("%s%s (%s): %s", c.in.Path, c.in.Body, r.Operation, diff)
		}
	}
}
