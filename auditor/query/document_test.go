package query

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestGeneralise(t *testing.T) {
	const b, table = "arn:aws:s3:::bucket", "arn:aws:dynamodb:eu-central-1:123456789012:table/"
	for name, x := range map[string]struct {
		in   []string
		most int
		want []string
	}{
		"few stay":                {[]string{b + "/a", b + "/b"}, 2, []string{b + "/a", b + "/b"}},
		"many become their place": {[]string{b + "/d/a", b + "/d/b", b + "/d/c", b + "/e"}, 2, []string{b + "/d/*", b + "/e"}},
		"places are counted too":  {[]string{b + "/1/", b + "/2/", b + "/3/", b}, 2, []string{b, b + "/*"}},
		"all there is of it":      {[]string{b + "/a/b/c", b}, 0, []string{b, b + "/*"}},
		"buckets keep their name": {[]string{b + "1", b + "2", b + "3"}, 0, []string{b + "1", b + "2", b + "3"}},
		"types are kept":          {[]string{table + "A", table + "B"}, 1, []string{table + "*"}},
		"within what is named":    {[]string{b + "/d/", b + "/d/x", b + "/d/y/z"}, 5, []string{b + "/d/*"}},
		"by colon":                {[]string{"arn:aws:lambda:r:1:function:f", "arn:aws:lambda:r:1:function:g"}, 1, []string{"arn:aws:lambda:r:1:function:*"}},
		"anything":                {[]string{b, "*"}, 5, []string{"*"}},
	} {
		if diff := cmp.Diff(x.want, generalise(x.in, x.most)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	const account = ":123456789012:"
	for _, x := range []struct {
		operation, arn, want string
		exact                bool
	}{
		{"GetObject", b + "/a*?$", b + "/a${*}${?}${$}", true},
		{"GetObject", b + "/*", b + "/${*}", true},
		{"DeleteObjects", b + "/*", b + "/*", true},
		{"GetUser", "arn:aws:iam:" + account + "user/*nobody", "arn:aws:iam:" + account + "user/*nobody", true},
		{"GetUser", "arn:aws:iam:" + account + "user/*no*body", "arn:aws:iam:" + account + "user/*no${*}body", true},
		{"GetRole", "arn:aws:iam:" + account + "role/*Ops", "arn:aws:iam:" + account + "role/*Ops", true},
		{"GetSAMLProvider", "arn:aws:iam:" + account + "saml-provider/*x", "arn:aws:iam:" + account + "saml-provider/${*}x", true},
		{"DeleteAutoScalingGroup", "arn:aws:autoscaling:r" + account + "autoScalingGroup:*:autoScalingGroupName/web", "arn:aws:autoscaling:r" + account + "autoScalingGroup:*:autoScalingGroupName/web", true},
		{"CreateVpc", "arn:aws:ec2:r" + account + "vpc/*", "arn:aws:ec2:r" + account + "vpc/*", true},
		{"Invoke", "arn:aws:execute-api:r" + account + "api/stage/GET/*", "arn:aws:execute-api:r" + account + "api/stage/GET/${*}", true},
		{"GetObject", b + "/日本 語/é", b + "/?? ?/é", false},
		{"GetObject", b + "/\xff/\ufffd/😀", b + "/*/*/*", false},
		{"GetObject", b + "/a\x01", b + "/a?", false},
	} {
		if got, exact := literal(x.operation, x.arn); got != x.want || exact != x.exact {
			t.Errorf("%s on %q: %q, exact: %v", x.operation, x.arn, got, exact)
		}
	}
}

// known is what awsreq would say.
func known(_, operation string) ([]string, int) {
	switch operation {
	case "CopyObject":
		return []string{"s3:PutObject", "s3:GetObject"}, 2
	case "RunInstances":
		return []string{"ec2:RunInstances"}, 18
	}
	return nil, 0
}

func TestLeastPolicy(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	b := []string{"arn:aws:s3:::b/k"}
	p := &LeastPolicy{}
	p.fill([]usage{
		{Service: "s3", Operation: "ListObjectsV2", Action: "s3:ListBucket", Region: "eu-central-1", Calls: 2, Last: at, Names: []string{"arn:aws:s3:::b"}},
		{Service: "s3", Operation: "GetObject", Action: "s3:GetObject", Region: "eu-central-1", Calls: 1, Last: at, Names: b},
		{Service: "s3", Operation: "CopyObject", Action: "s3:PutObject", Region: "eu-central-1", Calls: 1, Last: at, Names: b},
		{Service: "s3", Operation: "CopyObject", Action: "s3:PutObject", Region: "eu-central-1", Calls: 1, Last: at, Names: []string{"arn:aws:s3:::from/x"}, Source: true},
		{Service: "s3", Operation: "CopyObject", Action: "s3:PutObject", Also: []string{"s3:GetObjectVersion", "s3:PutObjectAcl"}, Region: "eu-central-1", Calls: 1, Last: at, Names: b},
		{Service: "s3", Operation: "CopyObject", Action: "s3:PutObject", Also: []string{"s3:GetObjectVersion", "s3:PutObjectAcl"}, Region: "eu-central-1", Calls: 1, Last: at, Names: []string{"arn:aws:s3:::from/v"}, Source: true},
		{Service: "dynamodb", Operation: "TransactWriteItems", Action: "dynamodb:PutItem", Also: []string{"dynamodb:DeleteItem"}, Region: "eu-central-1", Calls: 1, Last: at, Names: []string{"arn:aws:dynamodb:eu-central-1:1:table/t"}},
		{Service: "ec2", Operation: "RunInstances", Action: "ec2:RunInstances", Region: "us-east-1", Calls: 1, Last: at, Names: []string{"arn:aws:ec2:us-east-1::image/ami-1"}},
		{Service: "sts", Operation: "GetCallerIdentity", Action: "sts:GetCallerIdentity", Calls: 3, Last: at, Bare: 3},
		{Service: "odd", Operation: "New", Calls: 1, Last: at, Bare: 1},
	}, known)
	in := func(region string) *Condition {
		return &Condition{map[string][]string{"aws:RequestedRegion": {region}}}
	}
	want := []Document{{Version: "2012-10-17", Statement: []Statement{
		{"Allow", []string{"dynamodb:DeleteItem", "dynamodb:PutItem"}, []string{"arn:aws:dynamodb:eu-central-1:1:table/t"}, in("eu-central-1")},
		{"Allow", []string{"ec2:RunInstances"}, []string{"*"}, in("us-east-1")},
		{"Allow", []string{"s3:GetObject"}, []string{"arn:aws:s3:::b/k", "arn:aws:s3:::from/x"}, in("eu-central-1")},
		{"Allow", []string{"s3:GetObjectVersion"}, []string{"arn:aws:s3:::from/v"}, in("eu-central-1")},
		{"Allow", []string{"s3:ListBucket"}, []string{"arn:aws:s3:::b"}, in("eu-central-1")},
		{"Allow", []string{"s3:PutObject", "s3:PutObjectAcl"}, b, in("eu-central-1")},
		{"Allow", []string{"sts:GetCallerIdentity"}, []string{"*"}, nil},
	}}}
	if diff := cmp.Diff(want, p.Policies); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	if len(p.Unrecognised) != 1 || p.Unrecognised[0].Operation != "New" {
		t.Errorf("unrecognised: %+v", p.Unrecognised)
	}
	got, err := p.Unneeded([]byte(`{"PolicyDocument": {"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Action": ["s3:*", "S3:getobj?ct"], "Resource": "*"},
		{"Effect": "Allow", "Action": "iam:PassRole", "Resource": "*"},
		{"Effect": "Allow", "NotAction": ["s3:*", "ec2:*"], "Resource": "*"},
		{"Effect": "Deny", "Action": "sts:*", "Resource": "*"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Granted{
		{"s3:*", []string{"s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:PutObject", "s3:PutObjectAcl"}},
		{"S3:getobj?ct", []string{"s3:GetObject"}},
		{"iam:PassRole", []string{}},
		{"all but s3:*, ec2:*", []string{"dynamodb:DeleteItem", "dynamodb:PutItem", "sts:GetCallerIdentity"}},
	}, got); diff != "" {
		t.Errorf("granted (-want +got):\n%s", diff)
	}
	for _, bad := range []string{`{}`, `[]`, `{"Statement": 7}`} {
		if _, err := p.Unneeded([]byte(bad)); err == nil {
			t.Errorf("%s is no policy", bad)
		}
	}
}

// However much was used, no document is longer than IAM takes, and none grants
// less than what was used.
func TestDocumentsFit(t *testing.T) {
	grants := map[string]*grant{}
	for i := range 300 {
		g := &grant{regions: map[string]bool{"eu-central-1": true}, resources: map[string]bool{}}
		for j := range 1 + i%40 {
			g.resources[fmt.Sprintf("arn:aws:s3:::%s-%d-%d/a/b", strings.Repeat("x", 40), i, j)] = true
		}
		grants[fmt.Sprintf("service%d:Action%d", i%9, i)] = g
	}
	docs := documents(grants)
	granted := 0
	for _, d := range docs {
		b, err := json.Marshal(d)
		if err != nil || len(b) > 6144 {
			t.Errorf("%d characters, %v", len(b), err)
		}
		for _, s := range d.Statement {
			granted += len(s.Action) * len(s.Resource)
		}
	}
	want := 0
	for i := range 300 {
		want += 1 + i%40
	}
	if granted != want || len(docs) < 2 {
		t.Errorf("%d documents grant %d, want %d", len(docs), granted, want)
	}
}
