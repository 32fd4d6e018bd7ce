package awsreq

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/events/eventstest/datatest"
)

// Each action has its own level, and what a request asks for besides counts.
func TestLevels(t *testing.T) {
	tab := newTable(t)
	const object, bucket = "https://b.s3.us-east-1.amazonaws.com/k", "https://b.s3.us-east-1.amazonaws.com/"
	tagged := `<CreateBucketConfiguration><Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags></CreateBucketConfiguration>`
	for _, c := range []struct {
		line, header, body string
		want               string
		strongest          AccessLevel
	}{
		{"GET " + object, "", "", "s3:GetObject Read", Read},
		{"GET " + bucket + "?list-type=2", "", "", "s3:ListBucket List", List},
		{"PUT " + object, "X-Amz-Acl", "", "s3:PutObject Write, s3:PutObjectAcl Permissions management", Permissions},
		{"PUT " + object, "X-Amz-Grant-Full-Control", "", "s3:PutObject Write, s3:PutObjectAcl Permissions management", Permissions},
		{"PUT " + object, "X-Amz-Tagging", "", "s3:PutObject Write, s3:PutObjectTagging Tagging", Write},
		{"PUT " + object, "X-Amz-Object-Lock-Legal-Hold", "", "s3:PutObject Write, s3:PutObjectLegalHold Write", Write},
		{"PUT " + object, "X-Amz-Object-Lock-Mode", "", "s3:PutObject Write, s3:PutObjectRetention Write", Write},
		{"PUT " + object, "X-Amz-Copy-Source", "", "s3:PutObject Write, s3:GetObject Read", Write},
		{"DELETE " + object, "X-Amz-Bypass-Governance-Retention", "", "s3:DeleteObject Write, s3:BypassGovernanceRetention Permissions management", Permissions},
		{"DELETE " + object + "?versionId=v", "", "", "s3:DeleteObjectVersion Write", Write},
		{"PUT " + bucket, "X-Amz-Acl", "", "s3:CreateBucket Write, s3:PutBucketAcl Permissions management", Permissions},
		{"PUT " + bucket, "X-Amz-Object-Ownership", "", "s3:CreateBucket Write, s3:PutBucketOwnershipControls Permissions management", Permissions},
		{"PUT " + bucket, "", "<CreateBucketConfiguration/>", "s3:CreateBucket Write", Write},
		{"PUT " + bucket, "", tagged, "s3:CreateBucket Write, s3:TagResource Tagging", Write},
		{"PUT " + bucket, "", "\xff\xfe<\x00T\x00", "s3:CreateBucket Write, s3:TagResource Tagging", Write},
		{"PUT https://s3express-control.us-east-1.amazonaws.com/b--use1-az4--x-s3", "", tagged, "s3express:CreateBucket Write, s3express:TagResource Tagging", Write},
		{"POST https://d.us-east-1.neptune-graph.amazonaws.com/queries", "", "", "neptune-graph:ReadDataViaQuery Read, neptune-graph:WriteDataViaQuery Write, neptune-graph:DeleteDataViaQuery Write", Write},
		{"POST https://cloudfront.amazonaws.com/2020-05-31/distribution?WithTags", "", "", "cloudfront:CreateDistribution Write, cloudfront:TagResource Tagging", Write},
		{"POST https://ec2.us-east-1.amazonaws.com/", "", "", " ", ""},
	} {
		header := http.Header{}
		if c.header != "" {
			header.Set(c.header, "x")
		}
		r := tab.Recognize(request(t, tab, c.line, header, c.body))
		if d := cmp.Diff(c.want, strings.Join(said(&r), ", ")); d != "" || r.Strongest() != c.strongest {
			t.Errorf("%s %s: %s altogether, want %s (-want +got): %s", c.line, c.header, r.Strongest(), c.strongest, d)
		}
	}
}

// What a bucket's configuration says is not known before all of it was seen.
func TestTagsNotSeen(t *testing.T) {
	tab := newTable(t)
	for _, body := range []string{"", "<CreateBucketConfiguration>"} {
		in := request(t, tab, "PUT https://b.s3.us-east-1.amazonaws.com/", nil, body)
		in.BodyComplete = false
		r := tab.Recognize(in)
		if d := cmp.Diff([]string{"s3:CreateBucket Write", "s3:TagResource Tagging"}, said(&r)); d != "" {
			t.Errorf("%q: %s", body, d)
		}
	}
}

// One who reads several parameters that stand for secrets reads secrets.
func TestSecretsBehindParameters(t *testing.T) {
	tab := newTable(t)
	r := tab.Recognize(request(t, tab, "POST https://ssm.us-east-1.amazonaws.com/", http.Header{"X-Amz-Target": {"AmazonSSM.GetParameters"}},
		`{"Names":["/aws/reference/secretsmanager/a","/aws/reference/secretsmanager/b"]}`))
	if d := cmp.Diff([]string{"ssm:GetParameters Read", "secretsmanager:GetSecretValue Read"}, said(&r)); d != "" || len(r.Resources) != 4 {
		t.Errorf("of %v: %s", r.Resources, d)
	}
}

// Levels are those of the Service Authorization Reference, of every action that a
// request may ask for.
func TestLevelsOfIAM(t *testing.T) {
	tab := newTable(t)
	iam := map[string]AccessLevel{}
	for sc := bufio.NewScanner(datatest.Gunzip(t, "data/iam-actions.tsv.gz")); sc.Scan(); {
		f := strings.Split(sc.Text(), "\t")
		level, _, _ := strings.Cut(f[2], ",")
		iam[f[0]+":"+f[1]] = AccessLevel(level)
	}
	check := func(what string, a Action) {
		if want, ok := iam[a.Name]; ok && a.Level != want {
			t.Errorf("%s: %s is %s, want %s", what, a.Name, a.Level, want)
		}
	}
	for i := range tab.ops {
		o := &tab.ops[i]
		for _, a := range append([]Action{{o.action, o.level}}, o.also...) {
			if _, ok := iam[a.Name]; ok != o.certain {
				t.Errorf("%s: IAM lists %s: %v", o.name, a.Name, ok)
			}
			check(o.name, a)
		}
	}
	levels := tab.Levels()
	for name, level := range levels {
		check("Levels", Action{name, level})
	}
	all := http.Header{}
	for _, h := range append(grantHeaders[:], "X-Amz-Acl", "X-Amz-Tagging", "X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Legal-Hold", "X-Amz-Bucket-Object-Lock-Enabled",
		"X-Amz-Object-Ownership", "X-Amz-Bypass-Governance-Retention", "X-Amz-Copy-Source") {
		all.Set(h, "/b/k?versionId=v")
	}
	hosts := []string{"b.s3.us-east-1.amazonaws.com", "s3express-control.us-east-1.amazonaws.com/b--use1-az4--x-s3",
		"ap-" + account + ".s3-object-lambda.us-east-1.amazonaws.com", "ap-" + account + ".op-1.s3-outposts.us-east-1.amazonaws.com"}
	seen := 0
	for _, host := range hosts {
		for _, target := range []string{"/", "/k", "/k?versionId=v", "/?delete", "/k?acl", "/k?acl&versionId=v", "/k?tagging&versionId=v", "/k?retention", "/k?uploads", "/k?partNumber=1&uploadId=u"} {
			for _, method := range []string{"GET", "PUT", "POST", "DELETE"} {
				r := tab.Recognize(request(t, tab, method+" https://"+host+target, all, "<Tag/>"))
				check(method+" "+host+target, Action{r.Action, r.AccessLevel})
				for _, a := range r.Also {
					seen++
					check(method+" "+host+target, a)
					if levels[a.Name] != a.Level {
						t.Errorf("%s %s%s: %s is %s, and Levels says %q", method, host, target, a.Name, a.Level, levels[a.Name])
					}
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d actions besides were seen", seen)
	}
}
