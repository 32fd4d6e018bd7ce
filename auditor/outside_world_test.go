package auditor_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest/datatest"
)

// either is the verdict of two records of which one is the call's own and the other like it.
const either = "proxied or matched"

// outside is a world as CloudTrail's files and the streams tell it, and what is true of it.
type outside struct {
	r        *rand.Rand
	at       time.Time
	first    []events.Payload   // said before all else
	rounds   [][]events.Payload // said one after the other, each before the records of it
	files    [][]map[string]any // of each round, taken in after it
	ends     [][]events.Payload // said after the files of the round
	requests map[string]string
	records  map[string]string // by account/event id
	findings map[string]bool
	wrote    map[string]int // records by file
	n        int
}

// loaned is an identity that postern lends.
type loaned struct {
	id, user, account, partition, role, name, session, source, key, roleID string
	held, console, over                                                    string
}

func (l *loaned) arn() string { return "arn:" + l.partition + ":iam::" + l.account + ":role" + l.role }

func (l *loaned) assumed() string {
	return "arn:" + l.partition + ":sts::" + l.account + ":assumed-role/" + l.name + "/" + l.session
}

// calls are what is called, by postern's names and CloudTrail's.
var outsideCalls = []struct{ service, signing, operation, level, source, event, resource string }{
	{"application-autoscaling", "application-autoscaling", "DescribeScalableTargets", "Read", "autoscaling", "DescribeScalableTargets", "*"},
	{"iam", "iam", "CreateAccessKey", "Write", "iam", "CreateAccessKey", "arn:aws:iam::1:user/x"},
	{"s3control", "s3", "PutPublicAccessBlock", "Write", "s3", "PutAccountPublicAccessBlock", "*"},
	{"s3", "s3", "PutPublicAccessBlock", "Write", "s3", "PutBucketPublicAccessBlock", "arn:aws:s3:::loud"},
	{"s3", "s3", "PutObject", "Write", "s3", "PutObject", "arn:aws:s3:::loud/grüße 日本/ä.bin"},
	{"s3", "s3", "ListObjectsV2", "List", "s3", "ListObjects", "arn:aws:s3:::loud"},
	{"s3", "s3express", "CreateBucket", "Write", "s3express", "CreateBucket", "*"},
	{"lambda", "lambda", "UpdateFunctionCode", "Write", "lambda", "UpdateFunctionCode20150331v2", "*"},
	{"cloudfront", "cloudfront", "CreateInvalidation", "Write", "cloudfront", "CreateInvalidation2020_05_31", "*"},
	{"stepfunctions", "states", "StartExecution", "Write", "states", "StartExecution", "*"},
	{"cloudwatch", "monitoring", "PutMetricAlarm", "Write", "monitoring", "PutMetricAlarm", "*"},
	{"sesv2", "ses", "GetAccount", "Read", "ses", "GetAccount", "*"},
	{"opensearch", "es", "CreateDomain", "Write", "es", "CreateDomain", "*"},
	{"secretsmanager", "secretsmanager", "GetSecretValue", "Read", "secretsmanager", "GetSecretValue", "*"},
	{"rds-data", "rds-data", "ExecuteSql", "Write", "rdsdata", "ExecuteSql", "*"},
	{"bedrock-runtime", "bedrock", "InvokeModel", "Read", "bedrock", "InvokeModel", "*"},
	{"sso-admin", "sso", "ListInstances", "List", "sso", "ListInstances", "*"},
	{"dynamodbstreams", "dynamodb", "DescribeStream", "Read", "dynamodb", "DescribeStream", "*"},
	{"elbv2", "elasticloadbalancing", "CreateRule", "Write", "elasticloadbalancing", "CreateRule", "*"},
	{"sagemaker", "sagemaker", "CreateEndpoint", "Write", "sagemaker", "CreateEndpoint", "*"},
}

func (o *outside) id(kind string) string {
	o.n++
	return fmt.Sprintf("%s-%08x-%06d", kind, o.r.Uint32(), o.n)
}

func (o *outside) one(list ...string) string { return list[o.r.IntN(len(list))] }

// templates are records of real accounts, of which what is not said otherwise stays.
func templates(t testing.TB) []map[string]any {
	var out []map[string]any
	_ = filepath.Walk(datatest.File(t, "data/cloudtrail/invictus"), func(name string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if z, err := gzip.NewReader(bytes.NewReader(b)); err == nil {
			var plain bytes.Buffer
			if _, err := plain.ReadFrom(z); err != nil {
				t.Fatal(err)
			}
			b = plain.Bytes()
		}
		var f struct{ Records []map[string]any }
		if json.Unmarshal(b, &f) == nil {
			out = append(out, f.Records...)
		}
		return nil
	})
	if len(out) < 1000 {
		t.Fatalf("%d records of real accounts", len(out))
	}
	return out
}

// record is one of a call at a time; what is true of it is said by deliver.
func (o *outside) record(ts []map[string]any, at time.Time, account, source, event string, who map[string]any) map[string]any {
	rec := maps.Clone(ts[o.r.IntN(len(ts))])
	for _, k := range []string{"errorCode", "errorMessage", "responseElements", "sharedEventID", "resources", "sessionCredentialFromConsole", "requestID", "vpcEndpointId", "vpcEndpointAccountId"} {
		delete(rec, k)
	}
	rec["eventVersion"] = o.one("1.0", "1.02", "1.05", "1.08", "1.09", "1.10", "1.11")
	rec["eventTime"], rec["eventID"], rec["recipientAccountId"] = at.UTC().Format("2006-01-02T15:04:05Z"), o.id("E"), account
	rec["eventSource"], rec["eventName"], rec["userIdentity"], rec["awsRegion"], rec["eventType"] = source+".amazonaws.com", event, who, "eu-west-1", "AwsApiCall"
	rec["sourceIPAddress"] = o.one("203.0.113.9", "2001:db8::17")
	rec["inAFutureVersion"] = map[string]any{"userIdentity": map[string]any{"arn": "arn:aws:sts::1:assumed-role/x/y"}, "eventName": "Other", "n": 1e3}
	if o.r.IntN(200) == 0 {
		rec["requestParameters"] = map[string]any{"policyDocument": strings.Repeat("\u2028\\\"日", 20_000)}
	}
	return rec
}

// who is userIdentity of a loaned session.
func (o *outside) who(l *loaned, key string) map[string]any {
	context := map[string]any{"attributes": map[string]any{"mfaAuthenticated": "false"}, "sessionIssuer": map[string]any{"type": "Role", "principalId": l.roleID, "arn": l.arn(), "accountId": l.account, "userName": l.name}}
	if l.source != "" {
		context["sourceIdentity"] = l.source
	}
	return map[string]any{"type": "AssumedRole", "principalId": l.roleID + ":" + l.session, "arn": l.assumed(), "accountId": l.account, "accessKeyId": key, "sessionContext": context}
}

func key(rec map[string]any) string {
	return rec["recipientAccountId"].(string) + "/" + rec["eventID"].(string)
}

// deliver puts a record into files of a round, and of later ones: more than a quarter twice.
func (o *outside) deliver(round int, rec map[string]any, verdict string) {
	o.records[key(rec)] = verdict
	for times := 1 + o.r.IntN(100)/73; times > 0; times-- {
		o.files[round] = append(o.files[round], rec)
		round = min(round+o.r.IntN(3), len(o.files)-1)
	}
}

func newOutside(t testing.TB, seed uint64, now time.Time, rounds, calls int) *outside {
	o := &outside{r: rand.New(rand.NewPCG(seed, 77)), at: now, requests: map[string]string{}, records: map[string]string{}, findings: map[string]bool{}, wrote: map[string]int{},
		rounds: make([][]events.Payload, rounds), files: make([][]map[string]any, rounds), ends: make([][]events.Payload, rounds)}
	ts := templates(t)
	const org = "999988887777"
	o.first = append(o.first, &events.CloudTrailTrailObserved{TrailARN: "arn:aws:cloudtrail:eu-west-1:" + org + ":trail/org", Account: org, Name: "org", HomeRegion: "eu-west-1", Bucket: "b",
		MultiRegion: true, Organization: true, Logging: true, ObservedAt: now, AdvancedEventSelectors: `[
		{"FieldSelectors":[{"Field":"eventCategory","Equals":["Management"]},{"Field":"eventSource","NotEquals":["kms.amazonaws.com","rdsdata.amazonaws.com"]}]},
		{"FieldSelectors":[{"Field":"eventCategory","Equals":["Management"]},{"Field":"eventSource","Equals":["kms.amazonaws.com"]},{"Field":"readOnly","Equals":["false"]}]},
		{"FieldSelectors":[{"Field":"eventCategory","Equals":["Data"]},{"Field":"resources.type","Equals":["AWS::S3::Object"]},{"Field":"resources.ARN","StartsWith":["arn:aws:s3:::loud/"]}]}]`})
	var all []*loaned
	for i := range 24 {
		user := []string{"zoë@example.com", "Ops.Müller", "b=,.@-_", strings.Repeat("long-", 16) + "name@example.com", "carol", "dave+tag@example.org"}[i%6] + []string{"", "2", "3", "4"}[i/6]
		l := &loaned{id: fmt.Sprint("S", i), user: user, account: fmt.Sprintf("%012d", 210000000000+i%5), partition: []string{"aws", "aws", "aws", "aws-cn", "aws-us-gov"}[i%5], role: []string{"/Ops", "/teams/x/Ops-y=+", "/Reader"}[i%3],
			session: fmt.Sprintf("sess,%d@=.", i), key: fmt.Sprintf("ASIAOWN%013d", i), held: fmt.Sprintf("ASIAHELD%012d", i), console: fmt.Sprintf("ASIACONS%012d", i)}
		l.name = l.role[strings.LastIndex(l.role, "/")+1:]
		l.roleID = "AROA" + l.account[8:] + strings.ToUpper(strings.Map(func(c rune) rune {
			if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
				return c
			}
			return -1
		}, l.name))
		if i%2 == 0 {
			l.source = fmt.Sprintf("src-%d@x", i)
		}
		if i == 5 {
			l.over = "after_expiry"
		}
		if i == 7 {
			l.over = "after_lock"
		}
		all = append(all, l)
		expires := now.Add(time.Hour)
		if l.over == "after_expiry" {
			expires = now.Add(-time.Minute)
		}
		o.first = append(o.first, &events.SessionStarted{SessionID: l.id, User: l.user, App: "awsconsole", AWSRoleARN: l.arn(), Account: l.account, Partition: l.partition, RoleSessionName: l.session,
			SourceIdentity: l.source, StartedAt: now.Add(-time.Hour), ExpiresAt: expires})
		for k, use := range map[string]string{l.key: "proxy", l.held: "export", l.console: "console"} {
			o.first = append(o.first, &events.AWSCredentialsIssued{AccessKeyID: k, SessionID: l.id, User: l.user, App: "awsconsole", AWSRoleARN: l.arn(), Account: l.account, RoleSessionName: l.session,
				SourceIdentity: l.source, AssumedRoleID: l.roleID + ":" + l.session, IssuedAt: now.Add(-time.Hour), ExpiresAt: now.Add(time.Hour), Use: use, Proxy: "p1",
				HandedOut: use == "export" && i%2 == 0}) // which early versions left out
			// The record of the proxy's own call, in the account that it was made from and the role's.
			rec := o.record(ts, now.Add(-time.Hour), "555555555555", "sts", "AssumeRole", map[string]any{"type": "AssumedRole", "principalId": "AROAPROXY:i-1", "arn": "arn:aws:sts::555555555555:assumed-role/PosternProxy/i-1", "accountId": "555555555555", "accessKeyId": "ASIABASE"})
			rec["responseElements"] = map[string]any{"credentials": map[string]any{"accessKeyId": k, "sessionToken": "t"}, "assumedRoleUser": map[string]any{"arn": l.assumed()}}
			rec["requestID"], rec["sharedEventID"] = o.id("sts"), o.id("shared")
			o.deliver(0, rec, events.Credentials)
			other := maps.Clone(rec)
			other["eventID"], other["recipientAccountId"] = o.id("E"), l.account
			other["userIdentity"] = map[string]any{"type": "AWSAccount", "principalId": "AROAPROXY:i-1", "accountId": "555555555555"}
			o.deliver(0, other, events.Credentials)
		}
		if l.over == "after_lock" {
			o.first = append(o.first, &events.LockPlaced{LockID: "L7", Target: events.LockTarget{Kind: "session", Name: l.id}, By: "admin"})
		}
	}
	finding := func(kind, id string) { o.findings[kind+":"+id] = true }
	for i := range calls {
		round := i * rounds / calls
		l := all[o.r.IntN(len(all))]
		c := outsideCalls[o.r.IntN(len(outsideCalls))]
		at := now.Add(time.Duration(o.r.Int64N(int64(8 * time.Second)))).Add(6 * time.Second) // after the lock
		r := events.AWSRequest{RequestID: o.id("R"), ReceivedAt: at, User: l.user, SessionID: l.id, App: "awsconsole", AWSRoleARN: l.arn(), RoleSessionName: l.session, SourceIdentity: l.source, AccessKeyID: l.key,
			Account: l.account, Partition: l.partition, Region: "eu-west-1", Service: c.service, SigningName: c.signing, Operation: c.operation, AccessLevel: c.level, Resources: []string{c.resource}, Method: "POST", Host: "h", Path: "/", Proxy: "p1"}
		skewed := at.Add(time.Duration(o.r.Int64N(int64(4*time.Second))) - 2*time.Second)
		aws := o.id("aws")
		if c.service == "s3" {
			aws = strings.ToUpper(strconv.FormatUint(o.r.Uint64(), 36))
		}
		rec := o.record(ts, skewed, l.account, c.source, c.event, o.who(l, l.key))
		rec["requestID"] = aws
		done := &events.AWSRequestCompleted{AWSRequest: r, Status: 200, AWSRequestID: aws}
		say := func(p events.Payload) { // soon, or after its record came
			if o.r.IntN(4) == 0 {
				o.ends[round] = append(o.ends[round], p)
			} else {
				o.rounds[round] = append(o.rounds[round], p)
			}
		}
		o.rounds[round] = append(o.rounds[round], &events.AWSRequestAdmitted{AWSRequest: r, Role: "engineer"})
		late := func(id string) {
			if l.over != "" {
				finding(l.over, id)
			}
		}
		switch p := o.r.IntN(1000); {
		case p < 20: // dropped
			say(done)
			o.requests[r.RequestID] = events.Missing
			if c.service == "rds-data" || c.signing == "s3" && c.operation == "ListObjectsV2" && c.resource != "arn:aws:s3:::loud" {
				o.requests[r.RequestID] = events.NotLogged
			} else {
				finding("missing", r.RequestID)
			}
			late(r.RequestID)
			continue
		case p < 40: // failed on the way: AWS may have seen it, or not
			say(&events.AWSRequestFailed{AWSRequest: r, Stage: "forward", Code: "x", Reason: "reset"})
			o.requests[r.RequestID] = ""
			continue
		case p < 50: // before it
			say(&events.AWSRequestFailed{AWSRequest: r, Stage: "credentials", Code: "x", Reason: "denied"})
			o.requests[r.RequestID] = ""
			continue
		case p < 60: // a decrypt that the trail does not take, being a read
			read := r
			read.Service, read.SigningName, read.Operation, read.AccessLevel = "kms", "kms", "Decrypt", "Write"
			o.rounds[round][len(o.rounds[round])-1] = &events.AWSRequestAdmitted{AWSRequest: read}
			say(&events.AWSRequestCompleted{AWSRequest: read, Status: 200, AWSRequestID: aws})
			o.requests[r.RequestID] = events.NotLogged
			late(r.RequestID)
			continue
		case p < 75: // AWS saw somebody else
			who := o.who(l, l.key)
			who["arn"] = strings.TrimSuffix(l.assumed(), l.session) + "mallory"
			rec["userIdentity"] = who
			say(done)
			o.requests[r.RequestID] = events.Mismatched
			finding("mismatch", r.RequestID)
			late(r.RequestID)
			o.deliver(round, rec, events.Mismatched)
			continue
		case p < 85: // no id in the answer, or the record
			name := o.id("Bare")
			r.Operation, done.Operation, rec["eventName"] = name, name, name
			o.rounds[round][len(o.rounds[round])-1] = &events.AWSRequestAdmitted{AWSRequest: r}
			if o.r.IntN(2) == 0 {
				delete(rec, "requestID")
			} else {
				done.AWSRequestID = ""
			}
			say(done)
			o.requests[r.RequestID] = events.Matched
			late(r.RequestID)
			o.deliver(round, rec, events.Matched)
			continue
		}
		say(done)
		o.requests[r.RequestID] = events.Matched
		if o.r.IntN(50) == 0 && l.over != "" {
			rec["errorCode"] = "Client.UnauthorizedOperation"
		} else {
			late(r.RequestID)
		}
		p := o.r.IntN(1000)
		switch {
		case p < 30: // the owner of the resource gets it, too
			rec["sharedEventID"] = o.id("shared")
			other := maps.Clone(rec)
			other["eventID"], other["recipientAccountId"], other["userIdentity"] = o.id("E"), "400000000000", map[string]any{"type": "AWSAccount", "principalId": l.roleID + ":" + l.session, "accountId": l.account}
			o.deliver(round, other, events.Proxied)
		case p < 60: // what AWS did for it
			other := o.record(ts, skewed, l.account, "kms", "Decrypt", o.who(l, l.key))
			other["userIdentity"].(map[string]any)["invokedBy"], other["requestID"] = "s3.amazonaws.com", aws
			o.deliver(round, other, events.Proxied)
		case p < 90: // it was tried again by AWS, with the same id
			other := maps.Clone(rec)
			other["eventID"] = o.id("E")
			o.deliver(round, other, either)
			o.records[key(rec)] = either
		case p < 110: // a part
			other := o.record(ts, skewed, l.account, c.source, "PartOfIt", o.who(l, l.key))
			other["requestID"] = aws
			o.deliver(round, other, events.Proxied)
		}
		if v := o.records[key(rec)]; v != "" {
			o.deliver(round, rec, v)
		} else {
			o.deliver(round, rec, events.Matched)
		}
		around := func(who map[string]any, verdict, kind string) map[string]any {
			x := o.record(ts, skewed.Add(time.Second), l.account, c.source, o.one(c.event, "Another"), who)
			x["requestID"] = o.id("around")
			if o.r.IntN(10) == 0 {
				x["requestID"] = nil
				x["eventName"] = o.id("Around")
			}
			if kind != "" {
				finding(kind, key(x))
			}
			o.deliver(round, x, verdict)
			return x
		}
		switch p := o.r.IntN(1000); {
		case p < 8: // by the proxy's key, but not by the proxy
			x := around(o.who(l, l.key), events.Bypass, "bypass")
			late(key(x))
		case p < 16: // by keys that somebody else got for the role and name
			who := o.who(l, o.id("ASIASTOLEN"))
			if o.r.IntN(3) == 0 {
				delete(who, "sessionContext") // as of an early version
			}
			around(who, events.Bypass, "bypass")
		case p < 24: // by a name that nobody was lent
			who := o.who(l, o.id("ASIAX"))
			delete(who["sessionContext"].(map[string]any), "sourceIdentity")
			who["arn"], who["principalId"] = l.assumed()+"x", l.roleID+":"+l.session+"x"
			around(who, events.Bypass, "unknown_identity")
		case p < 30 && l.source != "": // chained into a role that is none of ours: the source identity stays
			who := o.who(l, o.id("ASIAX"))
			who["arn"] = "arn:aws:sts::777777777777:assumed-role/Elsewhere/x"
			who["accountId"] = "777777777777"
			who["sessionContext"].(map[string]any)["sessionIssuer"] = map[string]any{"type": "Role", "arn": "arn:aws:iam::777777777777:role/Elsewhere", "userName": "Elsewhere"}
			around(who, events.Bypass, "bypass")
		case p < 40: // an AssumeRole around, and what was called with its keys; the latter may come first
			got := o.id("ASIAGOT")
			verdict, kind, by := events.Bypass, "bypass", o.id("ASIAX")
			if o.r.IntN(2) == 0 {
				verdict, kind, by = events.Exported, "", l.held
			}
			x := o.record(ts, skewed, l.account, "sts", "AssumeRole", o.who(l, by))
			x["responseElements"], x["requestID"] = map[string]any{"credentials": map[string]any{"accessKeyId": got}}, o.id("around")
			if kind != "" {
				finding(kind, key(x))
			}
			if by == l.held {
				late(key(x))
			}
			other := o.record(ts, skewed.Add(time.Second), "888888888888", "ec2", "RunInstances", map[string]any{"type": "AssumedRole", "principalId": "AROAFAR:x", "arn": "arn:aws:sts::888888888888:assumed-role/Far/x", "accountId": "888888888888", "accessKeyId": got,
				"sessionContext": map[string]any{"sessionIssuer": map[string]any{"type": "Role", "arn": "arn:aws:iam::888888888888:role/Far", "userName": "Far"}}})
			other["requestID"] = o.id("around")
			if kind != "" {
				finding(kind, key(other))
			}
			if by == l.held {
				late(key(other))
			}
			o.deliver(min(round+o.r.IntN(3), rounds-1), x, verdict)
			o.deliver(round, other, verdict)
		case p < 50:
			x := around(o.who(l, l.held), events.Exported, "")
			late(key(x))
		case p < 60:
			x := around(o.who(l, l.console), events.Console, "")
			x["sessionCredentialFromConsole"] = "true"
			late(key(x))
		case p < 66: // the console makes keys of its own
			x := around(o.who(l, o.id("ASIACONSOLE")), events.Console, "")
			x["sessionCredentialFromConsole"] = "true"
			late(key(x))
		case p < 72:
			x := around(o.who(l, ""), events.Console, "")
			x["eventSource"], x["eventName"], x["eventType"] = "signin.amazonaws.com", "ConsoleLogin", "AwsConsoleSignIn"
			delete(x, "requestID")
			delete(x["userIdentity"].(map[string]any), "accessKeyId")
			late(key(x))
		case p < 82:
			who := o.who(l, o.id("ASIAFAS"))
			who["invokedBy"] = "cloudformation.amazonaws.com"
			around(who, events.Forwarded, "")
		case p < 90:
			x := around(o.who(l, o.id("ASIAFAS")), events.Forwarded, "")
			x["sourceIPAddress"], x["eventVersion"] = "athena.amazonaws.com", "1.08"
		case p < 200: // people and programs that postern has nothing to do with
			names := []map[string]any{
				{"type": "IAMUser", "principalId": "AIDAX", "arn": "arn:aws:iam::" + l.account + ":user/" + l.session, "accountId": l.account, "accessKeyId": o.id("AKIA"), "userName": l.session},
				{"type": "Root", "principalId": l.account, "arn": "arn:aws:iam::" + l.account + ":root", "accountId": l.account, "accessKeyId": o.id("ASIA")},
				{"type": "AWSService", "invokedBy": "cloudtrail.amazonaws.com"},
				{"type": "AssumedRole", "principalId": "AROAX:" + l.session, "arn": "arn:aws:sts::" + l.account + ":assumed-role/" + l.name + "X/" + l.session, "accountId": l.account, "accessKeyId": o.id("ASIA")},
				{"type": "AssumedRole", "principalId": "AROAX:" + l.session, "arn": "arn:aws:sts::131313131313:assumed-role/" + l.name + "/" + l.session, "accountId": "131313131313", "accessKeyId": o.id("ASIA")},
				{"type": "FederatedUser", "principalId": l.account + ":" + l.session, "arn": "arn:aws:sts::" + l.account + ":federated-user/" + l.session, "accountId": l.account, "accessKeyId": o.id("ASIA")},
				{"type": "WebIdentityUser", "principalId": "accounts.google.com:1:" + l.session, "userName": l.user, "identityProvider": "accounts.google.com"},
				{"type": "SAMLUser", "principalId": "x=:" + l.user, "userName": l.user, "identityProvider": "x="},
				{"type": "IdentityCenterUser", "accountId": l.account, "onBehalfOf": map[string]any{"userId": "u-1", "identityStoreArn": "arn:aws:identitystore::1:identitystore/d-1"}, "credentialId": "c"},
				{"type": "AWSAccount", "principalId": "AIDAY", "accountId": "020202020202"},
				{"type": "Unknown", "principalId": "AROA9:x", "userName": l.user},
				nil,
			}
			around(names[o.r.IntN(len(names))], "", "")
		}
	}
	return o
}
