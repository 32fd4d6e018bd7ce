package awsreq

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNested: what is named in structures, lists of such, and XML.
func TestNested(t *testing.T) {
	tab := newTable(t)
	target := func(service, target, body string) *Input {
		return request(t, tab, "POST https://"+service+".us-east-1.amazonaws.com/", http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {target}}, body)
	}
	route53 := func(line, body string) *Input { return request(t, tab, line, nil, body) }
	cut := func(in *Input) *Input {
		in.BodyComplete = false
		return in
	}
	of := func(service string) string { return "arn:aws:" + service + ":us-east-1:" + account + ":" }
	events := func(body string) *Input { return target("events", "AWSEvents.PutEvents", body) }
	logging := func(body string) *Input {
		return route53("POST https://route53.amazonaws.com/2013-04-01/queryloggingconfig", body)
	}
	const zone = "arn:aws:route53:::hostedzone/Z1"
	for name, c := range map[string]struct {
		in   *Input
		want string // "!": doubtful
	}{
		"list":            {events(`{"Entries":[{"EventBusName":"a","Detail":"{}"},{"EventBusName":"b"}]}`), of("events") + "event-bus/a " + of("events") + "event-bus/b"},
		"lists in lists":  {events(`{"Entries":[[{"EventBusName":"a"}]]}`), of("events") + "event-bus/a"},
		"no end of lists": {events(`{"Entries":[` + strings.Repeat("[", 9000) + `"` + strings.Repeat("x", 40000) + `"` + strings.Repeat("]", 9000) + `,{"EventBusName":"a"}]}`), ""},
		"ARN":             {events(`{"Entries":[{"EventBusName":"arn:aws:events:us-east-1:999999999999:event-bus/x"}]}`), "arn:aws:events:us-east-1:999999999999:event-bus/x"},
		"object":          {target("glue", "AWSGlue.GetSchema", `{"SchemaId":{"RegistryName":"r","SchemaName":"s"}}`), of("glue") + "registry/r " + of("glue") + "schema/s"},
		"several":         {target("workspaces", "WorkspacesService.TerminateWorkspaces", `{"TerminateWorkspaceRequests":[{"WorkspaceId":"ws-1"},{"WorkspaceId":"ws-2"}]}`), of("workspaces") + "workspace/ws-1 " + of("workspaces") + "workspace/ws-2"},
		"new":             {target("budgets", "AWSBudgetServiceGateway.CreateBudget", `{"AccountId":"`+account+`","Budget":{"BudgetName":"b"}}`), "arn:aws:budgets::" + account + ":budget/b"},
		"form":            {request(t, tab, "POST https://cloudformation.us-east-1.amazonaws.com/", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, "Action=CreateStackRefactor&StackDefinitions.member.1.StackName=a&StackDefinitions.member.2.StackName=b"), of("cloudformation") + "stack/a/* " + of("cloudformation") + "stack/b/*"},
		"elsewhere in it": {events(`{"Entries":[{"Detail":"{\"EventBusName\":\"x\"}","Source":{"EventBusName":"x"}}]}`), ""},
		"no job":          {request(t, tab, "POST https://batch.us-east-1.amazonaws.com/v1/submitjob", http.Header{"Content-Type": {"application/json"}}, `{"jobName":"n","jobQueue":"q","jobDefinition":"d:1","dependsOn":[{"jobId":"j"}]}`), of("batch") + "job-definition/d:1 " + of("batch") + "job-queue/q"},
		// Whoever reads it may take either.
		"twice":     {events(`{"Entries":[{"EventBusName":"a","EventBusName":"b"}]}`), "!"},
		"spelling":  {events(`{"Entries":[{"EventBusName":"a","eventbusname":"b"}]}`), "!"},
		"twice top": {events(`{"Entries":[{"EventBusName":"a"}],"entries":[{"EventBusName":"b"}]}`), "!"},

		"XML":         {logging(`<?xml version="1.0"?><CreateQueryLoggingConfigRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><HostedZoneId>Z1</HostedZoneId><CloudWatchLogsLogGroupArn>arn:aws:logs:us-east-1:1:log-group:g</CloudWatchLogsLogGroupArn></CreateQueryLoggingConfigRequest>`), zone},
		"XML list":    {route53("POST https://route53.amazonaws.com/2013-04-01/tags/hostedzone", `<ListTagsForResourcesRequest><ResourceIds><ResourceId>Z1</ResourceId><ResourceId>Z2</ResourceId></ResourceIds></ListTagsForResourcesRequest>`), zone + " arn:aws:route53:::hostedzone/Z2"},
		"XML twice":   {logging(`<R><HostedZoneId>Z1</HostedZoneId><HostedZoneId>Z2</HostedZoneId></R>`), "!"},
		"XML deeper":  {logging(`<R><X><HostedZoneId>Z2</HostedZoneId></X><HostedZoneId>Z1</HostedZoneId></R>`), zone},
		"XML comment": {logging(`<R><HostedZoneId>Z1<!-- 2 --></HostedZoneId></R>`), ""},
		"XML prefix":  {logging(`<R xmlns:q="x"><q:HostedZoneId>Z2</q:HostedZoneId><HostedZoneId>Z1</HostedZoneId></R>`), ""},
		"XML entity":  {logging(`<!DOCTYPE R [<!ENTITY z "Z2">]><R><HostedZoneId>&z;</HostedZoneId></R>`), ""},
		"XML cut":     {cut(logging(`<R><HostedZoneId>Z1</HostedZoneId>`)), ""},
		"XML path":    {logging(`<R><` + strings.Repeat("X", 30000) + `>` + strings.Repeat("<a/>", 5000) + `</` + strings.Repeat("X", 30000) + `><HostedZoneId>Z1</HostedZoneId></R>`), ""},
		"XML open":    {logging(`<R><HostedZoneId>Z1</HostedZoneId>`), ""},
		"XML crossed": {logging(`<R><HostedZoneId>Z1</R></HostedZoneId>`), ""},
		"XML around":  {logging(`<R><HostedZoneId>Z1<X/></HostedZoneId></R>`), ""},
		"XML two":     {logging(`<R><HostedZoneId>Z1</HostedZoneId></R><R><HostedZoneId>Z2</HostedZoneId></R>`), ""},
	} {
		r := tab.Recognize(c.in)
		got := strings.Join(r.Resources, " ")
		if r.Ambiguous {
			got = "!"
		}
		if d := cmp.Diff(c.want, got); d != "" || r.Operation == "" && !r.Ambiguous {
			t.Errorf("%s: %s (doubt %q): %s", name, r.Operation, r.Doubt, d)
		}
	}
}

// TestOwnWays: what services call in ways of their own.
func TestOwnWays(t *testing.T) {
	tab := newTable(t)
	target := func(service, target, body string) *Input {
		return request(t, tab, "POST https://"+service+".us-east-1.amazonaws.com/", http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {target}}, body)
	}
	form := func(service, body string) *Input {
		host := service + ".us-east-1.amazonaws.com"
		if service == "iam" {
			host = "iam.amazonaws.com"
		}
		return request(t, tab, "POST https://"+host+"/", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, body)
	}
	get := func(url string) *Input { return request(t, tab, "GET https://"+url, nil, "") }
	of := func(service string) string { return "arn:aws:" + service + ":us-east-1:" + account + ":" }
	tags := func(kind string) *Input {
		return target("ssm", "AmazonSSM.ListTagsForResource", `{"ResourceType":"`+kind+`","ResourceId":"x-1"}`)
	}
	for name, c := range map[string]struct {
		in   *Input
		want string
	}{
		// A parameter of one type is no maintenance window of the same name.
		"tags of a parameter":  {tags("Parameter"), of("ssm") + "parameter/x-1"},
		"tags of a window":     {tags("MaintenanceWindow"), of("ssm") + "maintenancewindow/x-1"},
		"tags of a document":   {tags("Document"), of("ssm") + "document/x-1"},
		"tags of a zone":       {get("route53.amazonaws.com/2013-04-01/tags/hostedzone/Z1"), "arn:aws:route53:::hostedzone/Z1"},
		"tags of a check":      {get("route53.amazonaws.com/2013-04-01/tags/healthcheck/h"), "arn:aws:route53:::healthcheck/h"},
		"window's own targets": {target("ssm", "AmazonSSM.RegisterTargetWithMaintenanceWindow", `{"WindowId":"mw-1","ResourceType":"INSTANCE","Targets":[]}`), of("ssm") + "maintenancewindow/mw-1"},

		"subscription": {form("sns", "Action=Unsubscribe&SubscriptionArn=arn%3Aaws%3Asns%3Aus-east-1%3A"+account+"%3At%3A6b0e71bd"), of("sns") + "t"},
		"topic":        {form("sns", "Action=DeleteTopic&TopicArn=arn%3Aaws%3Asns%3Aus-east-1%3A"+account+"%3At"), of("sns") + "t"},
		"build":        {target("codebuild", "CodeBuild_20161006.StopBuild", `{"id":"p:6b0e71bd"}`), of("codebuild") + "project/p"},
		"build's ARN":  {target("codebuild", "CodeBuild_20161006.BatchGetBuilds", `{"ids":["arn:aws:codebuild:eu-west-1:999999999999:build/p:6b0e71bd","q:1"]}`), "arn:aws:codebuild:eu-west-1:999999999999:project/p " + of("codebuild") + "project/q"},
		"layer":        {get("lambda.us-east-1.amazonaws.com/2018-10-31/layers/l/versions/3"), of("lambda") + "layer:l:3"},
		"layer's ARN":  {get("lambda.us-east-1.amazonaws.com/2018-10-31/layers/arn:aws:lambda:us-east-1:999999999999:layer:l/versions/3"), "arn:aws:lambda:us-east-1:999999999999:layer:l:3"},
		"waba":         {get("social-messaging.us-east-1.amazonaws.com/v1/whatsapp/waba/details?id=waba-976c72a700aac43eaf573ae050example"), of("social-messaging") + "waba/976c72a700aac43eaf573ae050example"},
		"user":         {get("quicksight.us-east-1.amazonaws.com/accounts/" + account + "/namespaces/default/users/bob"), of("quicksight") + "user/default/bob"},
		"provider":     {form("iam", "Action=CreateOpenIDConnectProvider&Url=https%3A%2F%2Fidp.example.com%2Fa"), "arn:aws:iam::" + account + ":oidc-provider/idp.example.com/a"},
		"meeting":      {get("meetings-chime.us-east-1.amazonaws.com/meetings/m"), of("chime") + "meeting/m"},
		"by its kind":  {get("elasticfilesystem.us-east-1.amazonaws.com/2015-02-01/resource-tags/fsap-0a1b"), of("elasticfilesystem") + "access-point/fsap-0a1b"},
		"unknown kind": {get("elasticfilesystem.us-east-1.amazonaws.com/2015-02-01/resource-tags/x-0a1b"), ""},
	} {
		r := tab.Recognize(c.in)
		if d := cmp.Diff(c.want, strings.Join(r.Resources, " ")); d != "" || r.Ambiguous || r.Operation == "" {
			t.Errorf("%s: %s (doubt %q): %s", name, r.Operation, r.Doubt, d)
		}
	}
}
