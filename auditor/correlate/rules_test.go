package correlate_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/events"
)

var (
	ourRole = "arn:aws:iam::111111111111:role/team/Ops"
	ourKey  = correlate.Credential{AccessKeyID: "ASIA1", User: "alice", Account: "111111111111", RoleARN: ourRole, SessionName: "alice", IssuedAt: start, ExpiresAt: start.Add(time.Hour)}
)

func ours(id, awsID string) correlate.Request {
	r := correlate.Request{ID: id, ReceivedAt: start, User: "alice", Account: "111111111111", RoleARN: ourRole, SessionName: "alice", AccessKeyID: "ASIA1",
		Service: "ec2", SigningName: "ec2", Operation: "DescribeInstances", AWSRequestID: awsID}
	if awsID != "" {
		r.Outcome = correlate.Completed
	}
	return r
}

func theirs(id, awsID string) correlate.Record {
	return correlate.Record{Account: "111111111111", EventID: id, RequestID: awsID, EventTime: start, EventSource: "ec2.amazonaws.com", EventName: "DescribeInstances",
		IdentityAccount: "111111111111", RoleARN: ourRole, RoleName: "Ops", SessionName: "alice", AccessKeyID: "ASIA1", User: "alice"}
}

// Single cases: what is told, and what is said by the end of ten minutes.
func TestRules(t *testing.T) {
	type given struct {
		requests []correlate.Request
		records  []correlate.Record
		console  bool
	}
	with := func(r correlate.Record, edit func(*correlate.Record)) correlate.Record { edit(&r); return r }
	for name, x := range map[string]struct {
		given given
		want  map[string]string // request/record -> verdict
	}{
		"matched": {given{requests: []correlate.Request{ours("R", "A")}, records: []correlate.Record{theirs("E", "A")}}, map[string]string{"R/E": "matched"}},
		"another key with our request id is no pair": {given{requests: []correlate.Request{ours("R", "A")},
			records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.AccessKeyID = "ASIA2" })}}, map[string]string{"/E": "bypass"}},
		"another account with our request id is no pair": {given{requests: []correlate.Request{ours("R", "A")},
			records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.IdentityAccount = "222222222222" })}}, map[string]string{"/E": "bypass"}},
		"another operation: its own record may come": {given{requests: []correlate.Request{ours("R", "A")},
			records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.EventName = "TerminateInstances" })}}, map[string]string{}},
		"another path of the role": {given{requests: []correlate.Request{ours("R", "A")},
			records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.RoleARN = "arn:aws:iam::111111111111:role/other/Ops" })}}, map[string]string{"R/E": "mismatched"}},
		"two request ids are two calls":      {given{requests: []correlate.Request{ours("R", "A")}, records: []correlate.Record{theirs("E", "B")}}, map[string]string{"/E": "bypass"}},
		"in flight, so it may be its record": {given{requests: []correlate.Request{ours("R", "")}, records: []correlate.Record{theirs("E", "A")}}, map[string]string{}},
		"console, of a session of ours": {given{console: true, records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.AccessKeyID, r.FromConsole = "ASIA9", true })}},
			map[string]string{"/E": "console"}},
		"console, of no session of ours": {given{records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.AccessKeyID, r.FromConsole = "ASIA9", true })}},
			map[string]string{"/E": "bypass"}},
		"console, after its session": {given{console: true, records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) {
			r.AccessKeyID, r.FromConsole, r.EventTime = "ASIA9", true, start.Add(2*time.Hour)
		})}}, map[string]string{"/E": "bypass"}},
		"an AWS service for us": {given{records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.InvokedBy = "athena.amazonaws.com" })}}, map[string]string{"/E": "forwarded"}},
		"postern's own AssumeRole": {given{records: []correlate.Record{{Account: "111111111111", EventID: "E", EventSource: "sts.amazonaws.com", EventName: "AssumeRole", AccessKeyID: "AKIABASE", IssuedAccessKeyID: "ASIA1"}}},
			map[string]string{"/E": "credentials"}},
		"somebody's AssumeRole": {given{records: []correlate.Record{{Account: "111111111111", EventID: "E", EventSource: "sts.amazonaws.com", EventName: "AssumeRole", AccessKeyID: "AKIABASE", IssuedAccessKeyID: "ASIA2"}}},
			map[string]string{}},
		"a name that only begins like ours": {given{records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.SessionName, r.AccessKeyID = "alice2", "ASIA2" })}}, map[string]string{"/E": "bypass unknown_identity"}},
		"our name under another role":       {given{records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.RoleName, r.AccessKeyID = "Ops2", "ASIA2" })}}, map[string]string{}},
		"our source identity in a chained role": {given{records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) {
			r.RoleName, r.SessionName, r.AccessKeyID, r.SourceIdentity = "Chained", "x", "ASIA2", "alice-source"
		})}}, map[string]string{"/E": "bypass"}},
		"our key under a name we don't know": {given{records: []correlate.Record{with(theirs("E", "A"), func(r *correlate.Record) { r.RoleName, r.SessionName = "X", "y" })}}, map[string]string{"/E": "bypass"}},
	} {
		s := correlate.New(correlate.Config{})
		c := ourKey
		c.SourceIdentity = "alice-source"
		s.AddCredential(c)
		if x.given.console {
			c.Console = true
			c.AccessKeyID = "ASIACONSOLE"
			s.AddCredential(c)
		}
		var js []correlate.Judgement
		for _, r := range x.given.requests {
			js = append(js, s.AddRequest(r, start)...)
		}
		for _, r := range x.given.records {
			js = append(js, s.AddRecord(r, start.Add(time.Second))...)
		}
		now := start.Add(10 * time.Minute)
		more, err := s.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, j := range append(js, more...) {
			said := j.Verdict.Verdict
			for _, f := range j.Opened {
				if f.Kind != said && f.Kind != "mismatch" {
					said += " " + f.Kind
				}
			}
			got[j.Verdict.RequestID+"/"+j.Verdict.EventID] = said
		}
		if d := cmp.Diff(x.want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}

// Nothing is called a bypass before the requests of its time are known, nor
// missing before the records are.
func TestWatermarks(t *testing.T) {
	s := correlate.New(correlate.Config{})
	s.AddCredential(ourKey)
	s.AddRequest(ours("R", "A"), start)
	s.AddRecord(theirs("E", "B"), start.Add(time.Minute))
	late := start.Add(time.Hour)
	advance := func(c correlate.Clock) (verdicts []string) {
		js, err := s.Advance(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range js {
			verdicts = append(verdicts, j.Verdict.Verdict)
		}
		return verdicts
	}
	if got := advance(correlate.Clock{Now: late, Requests: start.Add(59 * time.Second), Records: start.Add(20 * time.Minute)}); got != nil {
		t.Errorf("judged too early: %v", got)
	}
	if got := advance(correlate.Clock{Now: late, Requests: start.Add(time.Minute), Records: start.Add(20 * time.Minute)}); cmp.Diff(got, []string{events.Bypass}) != "" {
		t.Errorf("with the requests known: %v", got)
	}
	if got := advance(correlate.Clock{Now: late, Requests: late, Records: start.Add(21 * time.Minute)}); cmp.Diff(got, []string{events.Missing}) != "" {
		t.Errorf("with the records known: %v", got)
	}
}

// A store that can't be asked leaves everything as it was.
func TestRecallFails(t *testing.T) {
	s := correlate.New(correlate.Config{})
	s.AddCredential(ourKey)
	s.AddRequest(ours("R", "A"), start)
	s.AddRecord(theirs("E", "B"), start)
	late := start.Add(time.Hour)
	c := correlate.Clock{Now: late, Requests: late, Records: late}
	down := errors.New("down")
	js, err := s.Advance(c, func(correlate.Doubt) (correlate.Found, error) { return correlate.Found{}, down })
	if !errors.Is(err, down) || len(js) != 0 {
		t.Fatalf("%v, %v", js, err)
	}
	js, err = s.Advance(c, nil)
	if err != nil || len(js) != 2 {
		t.Errorf("afterwards: %v, %v", js, err)
	}
}

// A lock, or an end, that comes to be known after its calls were judged.
func TestLateNews(t *testing.T) {
	at := start.Add(time.Minute)
	for name, x := range map[string]struct {
		news func(*correlate.State) []correlate.Judgement
		want []string
	}{
		"lock": {func(s *correlate.State) []correlate.Judgement {
			return s.AddLock(correlate.Lock{ID: "L", Kind: "user", Name: "alice", PlacedAt: at})
		}, []string{"after_lock:R", "after_lock:111111111111/E2"}},
		"lock of a role": {func(s *correlate.State) []correlate.Judgement {
			return s.AddLock(correlate.Lock{ID: "L", Kind: "role", Name: "engineer", PlacedAt: at})
		}, []string{"after_lock:111111111111/E2", "after_lock:R"}},
		"lock of a machine": {func(s *correlate.State) []correlate.Judgement {
			return s.AddLock(correlate.Lock{ID: "L", Kind: "device", Name: "m1", PlacedAt: at})
		}, []string{"after_lock:111111111111/E2", "after_lock:R"}},
		"lock of a proxy": {func(s *correlate.State) []correlate.Judgement {
			return s.AddLock(correlate.Lock{ID: "L", Kind: "agent", Name: "p1", PlacedAt: at})
		}, []string{"after_lock:R"}},
		"lock of another proxy": {func(s *correlate.State) []correlate.Judgement {
			return s.AddLock(correlate.Lock{ID: "L", Kind: "agent", Name: "p2", PlacedAt: at})
		}, nil},
		"lock of others": {func(s *correlate.State) []correlate.Judgement {
			return s.AddLock(correlate.Lock{ID: "L", Kind: "user", Name: "alic", PlacedAt: at})
		}, nil},
		"lock that ended": {func(s *correlate.State) []correlate.Judgement {
			return s.AddLock(correlate.Lock{ID: "L", Kind: "user", Name: "alice", PlacedAt: at, Until: at.Add(time.Second)})
		}, nil},
		"lock that was lifted just before": {func(s *correlate.State) []correlate.Judgement {
			return s.AddLock(correlate.Lock{ID: "L", Kind: "user", Name: "alice", PlacedAt: at, Until: at.Add(59 * time.Second)})
		}, nil},
		"lock, at the end": {func(s *correlate.State) []correlate.Judgement {
			return s.AddLock(correlate.Lock{ID: "L", Kind: "user", Name: "alice", PlacedAt: at.Add(58 * time.Second)})
		}, nil},
		"end":           {func(s *correlate.State) []correlate.Judgement { return s.EndSession("S", at) }, []string{"after_expiry:R", "after_expiry:111111111111/E2"}},
		"end of others": {func(s *correlate.State) []correlate.Judgement { return s.EndSession("S2", at) }, nil},
	} {
		s := correlate.New(correlate.Config{})
		c := ourKey
		c.SessionID = "S"
		s.AddCredential(c)
		s.AddSession(correlate.Session{ID: "S", User: "alice", Roles: []string{"engineer"}, Device: "m1", EndsAt: start.Add(time.Hour)})
		req, rec, around, refused := ours("R", "A"), theirs("E", "A"), theirs("E2", "B"), theirs("E3", "C")
		refusedReq, itsRec := ours("R4", "D"), theirs("E4", "D")
		refusedReq.SessionID, refusedReq.ReceivedAt, itsRec.EventTime, itsRec.Refused = "S", at.Add(time.Minute), at.Add(time.Minute), true
		req.SessionID, req.Proxy, req.ReceivedAt = "S", "p1", at.Add(time.Minute)
		rec.EventTime, around.EventTime, refused.EventTime = req.ReceivedAt, req.ReceivedAt, req.ReceivedAt
		refused.Refused = true
		s.AddRequest(req, at)
		s.AddRequest(refusedReq, at)
		for _, r := range []correlate.Record{rec, around, refused, itsRec} {
			s.AddRecord(r, at)
		}
		now := start.Add(10 * time.Minute)
		if _, err := s.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, nil); err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for range 2 { // the same news again is none
			for _, j := range x.news(s) {
				for _, f := range j.Opened {
					got[f.FindingID]++
				}
			}
		}
		want := map[string]int{}
		for _, id := range x.want {
			want[id] = 1
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}

// That AWS refused a part of a call, which takes the place of its record, does not say that
// it refused the call.
func TestLateWithARefusedPart(t *testing.T) {
	s := correlate.New(correlate.Config{})
	s.AddCredential(ourKey)
	s.AddLock(correlate.Lock{ID: "L", Kind: "user", Name: "alice", PlacedAt: start.Add(-time.Minute)})
	part := theirs("PART", "A")
	part.EventName, part.Refused = "DescribeInstance", true
	got := told(t, s, []correlate.Request{ours("R", "A")}, []correlate.Record{part})
	if d := cmp.Diff(map[string]string{"mismatch:R": "open", "after_lock:R": "open"}, got.findings); d != "" {
		t.Errorf("findings (-want +got)\n%s", d)
	}
}

// What the store has judged of a record that comes once more is taken as it is, with its
// rule: nothing is said of it again, and a request that comes late resolves what there is.
func TestJudgedBefore(t *testing.T) {
	for rule, resolved := range map[string]string{
		"no_request": "bypass:111111111111/E", "unknown_identity": "unknown_identity:111111111111/E", "shared_event": "",
	} {
		s := correlate.New(correlate.Config{})
		s.AddCredential(ourKey)
		rec, now := theirs("E", "A"), start.Add(10*time.Minute)
		var said []correlate.Judgement
		take := func(js []correlate.Judgement) { said = append(said, js...) }
		take(s.AddRecord(rec, now))
		js, err := s.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, func(correlate.Doubt) (correlate.Found, error) {
			return correlate.Found{Judged: map[correlate.RecordID]correlate.JudgedAs{rec.ID(): {Verdict: events.Bypass, Rule: rule}}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		take(js)
		take(s.AddLock(correlate.Lock{ID: "L", Kind: "user", Name: "alice", PlacedAt: start.Add(-time.Minute)}))
		if len(said) > 0 {
			t.Errorf("%s: said again: %+v", rule, said)
		}
		s.LiftLock("L", start.Add(-time.Second))
		got := ""
		for _, j := range s.AddRequest(ours("R", "A"), now) {
			for _, f := range j.Resolved {
				got += f.FindingID
			}
		}
		if got != resolved {
			t.Errorf("%s: resolved %q, want %q", rule, got, resolved)
		}
	}
}

// What a trail selects decides whether a record is due at all.
func TestSelectors(t *testing.T) {
	get := func(arn string) correlate.Request {
		r := ours("R", "A")
		r.Service, r.SigningName, r.Operation, r.ReadOnly, r.Region, r.Resources = "s3", "s3", "GetObject", true, "eu-central-1", []string{arn}
		return r
	}
	list := get("arn:aws:s3:::loud")
	list.Operation = "ListObjectsV2"
	describe := ours("R", "A")
	describe.ReadOnly, describe.Region = true, "eu-central-1"
	loud, quiet := get("arn:aws:s3:::loud/x"), get("arn:aws:s3:::louder/x")
	call := func(service, operation string) correlate.Request {
		r := get("*")
		r.Service, r.SigningName, r.Operation = service, "x", operation
		return r
	}
	advanced := func(fields string) string {
		return `[{"FieldSelectors":[{"Field":"eventCategory","Equals":["Data"]},{"Field":"resources.type","Equals":["AWS::S3::Object"]}` + fields + `]}]`
	}
	of := func(kind string) string { return strings.ReplaceAll(advanced(``), "S3::Object", kind) }
	const here = ":eu-central-1:111111111111:"
	express, point := get("arn:aws:s3express"+here+"bucket/b--euc1-az1--x-s3"), get("arn:aws:s3"+here+"accesspoint/ap/object/x")
	outpost, lambda := get("arn:aws:s3-outposts"+here+"outpost/op-1/accesspoint/ap/object/x"), get("arn:aws:s3-object-lambda"+here+"accesspoint/ap")
	multi, alias := get("arn:aws:s3::111111111111:accesspoint/x.mrap/object/x"), get("arn:aws:s3:::ap-abcdef-s3alias/x")
	nothing, both := get("*"), get("arn:aws:s3:::loud/x")
	both.Resources = append(both.Resources, point.Resources...)
	for name, x := range map[string]struct {
		basic, advanced string
		trail           correlate.Trail
		request         correlate.Request
		want            string
	}{
		"no trail of the account":        {trail: correlate.Trail{Account: "222222222222"}, request: loud, want: "missing"},
		"no trail of the region":         {trail: correlate.Trail{HomeRegion: "us-east-1"}, request: loud, want: "missing"},
		"an organization's trail":        {trail: correlate.Trail{Account: "222222222222", Organization: true, MultiRegion: true}, request: loud, want: "not_logged"},
		"none are management events":     {request: loud, want: "not_logged"},
		"none are management events, so": {request: describe, want: "missing"},
		"all of S3":                      {basic: `[{"DataResources":[{"Type":"AWS::S3::Object","Values":["arn:aws:s3"]}]}]`, request: quiet, want: "missing"},
		"a bucket":                       {basic: `[{"DataResources":[{"Type":"AWS::S3::Object","Values":["arn:aws:s3:::loud/"]}]}]`, request: loud, want: "missing"},
		"a bucket, listed":               {basic: `[{"DataResources":[{"Type":"AWS::S3::Object","Values":["arn:aws:s3:::loud/"]}]}]`, request: list, want: "missing"},
		"another bucket":                 {basic: `[{"DataResources":[{"Type":"AWS::S3::Object","Values":["arn:aws:s3:::loud/"]}]}]`, request: quiet, want: "not_logged"},
		"another service":                {basic: `[{"DataResources":[{"Type":"AWS::Lambda::Function","Values":["arn:aws:lambda"]}]}]`, request: loud, want: "not_logged"},
		"writes only":                    {basic: `[{"ReadWriteType":"WriteOnly","DataResources":[{"Type":"AWS::S3::Object","Values":["arn:aws:s3"]}]}]`, request: loud, want: "not_logged"},
		"no management events":           {basic: `[{"IncludeManagementEvents":false}]`, request: describe, want: "not_logged"},
		"a source left out":              {basic: `[{"ExcludeManagementEventSources":["ec2.amazonaws.com"]}]`, request: describe, want: "not_logged"},
		"advanced, all objects":          {advanced: advanced(``), request: loud, want: "missing"},
		"advanced, no management":        {advanced: advanced(``), request: describe, want: "not_logged"},
		"advanced, a bucket":             {advanced: advanced(`,{"Field":"resources.ARN","StartsWith":["arn:aws:s3:::loud/"]}`), request: loud, want: "missing"},
		"advanced, another bucket":       {advanced: advanced(`,{"Field":"resources.ARN","StartsWith":["arn:aws:s3:::loud/"]}`), request: quiet, want: "not_logged"},
		"advanced, a bucket left out":    {advanced: advanced(`,{"Field":"resources.ARN","NotStartsWith":["arn:aws:s3:::loud/"]}`), request: loud, want: "not_logged"},
		"advanced, writes":               {advanced: advanced(`,{"Field":"readOnly","Equals":["false"]}`), request: loud, want: "not_logged"},
		"advanced, by name":              {advanced: advanced(`,{"Field":"eventName","Equals":["PutObject","DeleteObject"]}`), request: loud, want: "not_logged"},
		"a data event by another name":   {request: call("sagemaker-runtime", "InvokeEndpoint"), want: "not_logged"},
		"of a service that has both":     {request: call("kinesisvideo", "DeleteStream"), want: "missing"},
		"data of another type":           {advanced: advanced(``), request: call("cloudwatch", "PutMetricData"), want: "not_logged"},
		"data of its type":               {advanced: strings.ReplaceAll(advanced(``), "S3::Object", "CloudWatch::Metric"), request: call("cloudwatch", "PutMetricData"), want: "missing"},
		"of one of its types":            {advanced: strings.ReplaceAll(advanced(``), "S3::Object", "DynamoDB::Table"), request: call("dynamodbstreams", "GetRecords"), want: "missing"},
		"a type that basic ones lack":    {basic: `[{"DataResources":[{"Type":"AWS::S3::Object","Values":["arn:aws:s3"]}]}]`, request: call("cognito-identity", "GetId"), want: "not_logged"},
		"a resource that is not known":   {advanced: strings.ReplaceAll(advanced(`,{"Field":"resources.ARN","StartsWith":["arn:aws:x"]}`), "S3::Object", "CloudWatch::Metric"), request: call("cloudwatch", "PutMetricData"), want: "missing"},
		"a directory bucket":             {advanced: of("S3Express::Object"), request: express, want: "missing"},
		"an access point":                {advanced: of("S3::AccessPoint"), request: point, want: "missing"},
		"an access point's bucket":       {advanced: advanced(`,{"Field":"resources.ARN","StartsWith":["arn:aws:s3:::loud/"]}`), request: point, want: "missing"},
		"an access point's, basic":       {basic: `[{"DataResources":[{"Type":"AWS::S3::Object","Values":["arn:aws:s3:::loud/"]}]}]`, request: point, want: "missing"},
		"one for many regions":           {advanced: of("S3::AccessPoint"), request: multi, want: "missing"},
		"an access point's alias":        {advanced: of("S3::AccessPoint"), request: alias, want: "missing"},
		"an alias's bucket":              {advanced: advanced(`,{"Field":"resources.ARN","StartsWith":["arn:aws:s3:::loud/"]}`), request: alias, want: "missing"},
		"an object on an Outpost":        {advanced: of("S3Outposts::Object"), request: outpost, want: "missing"},
		"an Object Lambda":               {advanced: of("S3ObjectLambda::AccessPoint"), request: lambda, want: "missing"},
		"S3, of what is not known":       {advanced: of("S3Express::Object"), request: nothing, want: "missing"},
		"a copy from an access point":    {advanced: of("S3::AccessPoint"), request: both, want: "missing"},
		"objects, not directory buckets": {advanced: advanced(``), request: express, want: "not_logged"},
		"directory buckets, not objects": {advanced: of("S3Express::Object"), request: loud, want: "not_logged"},
		"access points, not objects":     {advanced: of("S3::AccessPoint"), request: loud, want: "not_logged"},
		"Outposts, not access points":    {advanced: of("S3Outposts::Object"), request: point, want: "not_logged"},
		"access points, not Lambdas":     {advanced: of("S3::AccessPoint"), request: lambda, want: "not_logged"},
		"advanced, by a field not known": {advanced: advanced(`,{"Field":"vpcEndpointId","Equals":["vpce-1"]}`), request: loud, want: "missing"},
		"advanced, of its role":          {advanced: advanced(`,{"Field":"userIdentity.arn","StartsWith":["arn:aws:sts::111111111111:assumed-role/Ops/"]}`), request: loud, want: "missing"},
		"advanced, of its session":       {advanced: advanced(`,{"Field":"userIdentity.arn","Equals":["arn:aws:sts::111111111111:assumed-role/Ops/alice"]}`), request: loud, want: "missing"},
		"advanced, of another role":      {advanced: advanced(`,{"Field":"userIdentity.arn","StartsWith":["arn:aws:sts::111111111111:assumed-role/Op/"]}`), request: loud, want: "not_logged"},
		"advanced, its role left out":    {advanced: advanced(`,{"Field":"userIdentity.arn","NotStartsWith":["arn:aws:sts::111111111111:assumed-role/Ops/"]}`), request: loud, want: "not_logged"},
		"advanced, of consoles":          {advanced: advanced(`,{"Field":"sessionCredentialFromConsole","Equals":["true"]}`), request: loud, want: "not_logged"},
		"advanced, not of consoles":      {advanced: advanced(`,{"Field":"sessionCredentialFromConsole","NotEquals":["true"]}`), request: loud, want: "missing"},
		"advanced, of services":          {advanced: advanced(`,{"Field":"eventType","Equals":["AwsServiceEvent"]}`), request: loud, want: "not_logged"},
		"advanced, a source's beginning": {advanced: advanced(`,{"Field":"eventSource","StartsWith":["s3."]}`), request: loud, want: "missing"},
		"advanced, another's beginning":  {advanced: advanced(`,{"Field":"eventSource","StartsWith":["sqs."]}`), request: loud, want: "not_logged"},
		"a source by another name":       {basic: `[{"ExcludeManagementEventSources":["autoscaling.amazonaws.com"]}]`, request: call("application-autoscaling", "DescribeScalableTargets"), want: "not_logged"},
	} {
		s := correlate.New(correlate.Config{})
		selectors, err := correlate.ParseSelectors(x.basic, x.advanced)
		if err != nil {
			t.Fatal(err)
		}
		if x.trail.Account == "" {
			x.trail.Account = "111111111111"
		}
		if x.trail.HomeRegion == "" {
			x.trail.HomeRegion = "eu-central-1"
		}
		x.trail.Selectors = selectors
		s.AddTrail(x.trail)
		s.AddRequest(x.request, start)
		now := start.Add(time.Hour)
		js, err := s.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, nil)
		if err != nil || len(js) != 1 || js[0].Verdict.Verdict != x.want || (len(js[0].Opened) == 1) != (x.want == "missing") {
			t.Errorf("%s: %+v, %v, want %s", name, js, err, x.want)
		}
	}
	if _, err := correlate.ParseSelectors(`{"a":`, ""); err == nil {
		t.Error("selectors that are no JSON were read")
	}
	// They may select it.
	s := correlate.New(correlate.Config{})
	s.AddTrail(correlate.Trail{Account: "111111111111", HomeRegion: "eu-central-1"})
	s.AddRequest(loud, start)
	now := start.Add(time.Hour)
	js, err := s.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, nil)
	if err != nil || len(js) != 1 || js[0].Verdict.Verdict != events.Missing {
		t.Errorf("by selectors that are not known: %+v, %v", js, err)
	}
}

// What CloudTrail never logs is not missed, trails or none.
func TestNeverLogged(t *testing.T) {
	for call, want := range map[string]string{
		"execute-api Invoke": events.NotLogged, "es ESHttpPost": events.NotLogged, "cloudsearchdomain Search": events.NotLogged, "apigateway TestInvokeMethod": events.NotLogged,
		"es CreateDomain": events.Missing, "apigateway GetRestApis": events.Missing, "cloudsearch CreateDomain": events.Missing,
	} {
		s := correlate.New(correlate.Config{})
		r := ours("R", "A")
		r.Service, r.Operation, _ = strings.Cut(call, " ")
		s.AddRequest(r, start)
		now := start.Add(time.Hour)
		js, err := s.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, nil)
		if err != nil || len(js) != 1 || js[0].Verdict.Verdict != want || (len(js[0].Opened) == 1) != (want == events.Missing) {
			t.Errorf("%s: %+v, %v, want %s", call, js, err, want)
		}
	}
}

// Whom a record is about, where its own name for them is another.
func TestUserOf(t *testing.T) {
	other := "arn:aws:iam::111111111111:role/Other"
	for name, x := range map[string]struct {
		edit func(*correlate.Record)
		want string
	}{
		"by key":                        {func(r *correlate.Record) { r.AccessKeyID = "ASIA1" }, "zoë access_key"},
		"by session name":               {func(*correlate.Record) {}, "zoë role_session_name"},
		"by source identity":            {func(r *correlate.Record) { r.SessionName, r.SourceIdentity, r.User = "x", "zo--1", "zo--1" }, "zoë source_identity"},
		"another's source identity":     {func(r *correlate.Record) { r.SourceIdentity, r.User = "mallory", "mallory" }, "mallory "},
		"the name under another role":   {func(r *correlate.Record) { r.RoleARN, r.RoleName = other, "Other" }, "zo--1 "},
		"a name that two users had":     {func(r *correlate.Record) { r.SessionName, r.User = "shared", "shared" }, "shared "},
		"a name that nobody had":        {func(r *correlate.Record) { r.SessionName, r.User = "nobody", "nobody" }, "nobody "},
		"a name that is the user's":     {func(r *correlate.Record) { r.SessionName, r.User = "alice", "alice" }, "alice "},
		"a key whose name is another's": {func(r *correlate.Record) { r.AccessKeyID, r.SessionName, r.User = "ASIA1", "alice", "alice" }, "zoë access_key"},
	} {
		s := correlate.New(correlate.Config{})
		c := ourKey
		c.User, c.SessionName, c.SourceIdentity = "zoë", "zo--1", "zo--1"
		s.AddCredential(c)
		s.AddIdentity(correlate.IdentityOf(ourRole, "alice"), "", "alice")
		for _, user := range []string{"a", "b", "b", "a"} {
			s.AddIdentity(correlate.IdentityOf(ourRole, "shared"), "", user)
		}
		s.AddIdentity(correlate.IdentityOf(other, "bob"), "", "bob")
		r := theirs("E", "A")
		r.AccessKeyID, r.SessionName, r.User = "ASIA9", "zo--1", "zo--1"
		x.edit(&r)
		s.AddRecord(r, start)
		now := start.Add(10 * time.Minute)
		js, err := s.Advance(correlate.Clock{Now: now, Requests: now, Records: now}, nil)
		if err != nil || len(js) != 1 || len(js[0].Opened) != 1 {
			t.Fatalf("%s: %+v, %v", name, js, err)
		}
		v, f := js[0].Verdict, js[0].Opened[0]
		if got := v.User + " " + v.UserRule; got != x.want || f.User != v.User {
			t.Errorf("%s: %q, and %q has the finding, want %q", name, got, f.User, x.want)
		}
	}
}
