package simaws

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Trail is a CloudTrail trail: it delivers log files to a bucket.
type Trail struct {
	Account, HomeRegion, Name string
	Bucket, Prefix            string
	MultiRegion               bool
	// Organization, such as o-exampleorgid, makes it a trail for Members too.
	Organization string
	Members      []string
	// Digests has digest files written, hourly by the Sim's clock, or by Digest.
	Digests bool
	// Selectors are event selectors in CloudTrail's JSON, basic
	// ([{"ReadWriteType":…}]) or advanced ([{"FieldSelectors":…}]). Empty means
	// all management events and no data events.
	Selectors string
}

// ARN is the name that CloudTrail gives a trail.
func (t *Trail) ARN() string {
	return "arn:" + partitionOf(t.HomeRegion, "aws") + ":cloudtrail:" + t.HomeRegion + ":" + t.Account + ":trail/" + t.Name
}

// trailState is a trail with what it has delivered.
type trailState struct {
	Trail
	Chains map[string]*digestChain // by account and region

	selectors []selector
}

// selector is a basic or an advanced event selector:
// https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_EventSelector.html
type selector struct {
	ReadWriteType           string `json:",omitempty"`
	IncludeManagementEvents *bool  `json:",omitempty"`
	DataResources           []struct {
		Type   string
		Values []string
	} `json:",omitempty"`
	Name           string          `json:",omitempty"`
	FieldSelectors []fieldSelector `json:",omitempty"`
}

type fieldSelector struct {
	Field                                                               string
	Equals, StartsWith, EndsWith, NotEquals, NotStartsWith, NotEndsWith []string `json:",omitempty"`
}

// PutTrail creates a trail or changes it; what it has delivered stays.
func (s *Sim) PutTrail(in Trail) error {
	if !accountID.MatchString(in.Account) || !regionLabel.MatchString(in.HomeRegion) || !iamName.MatchString(in.Name) {
		return fmt.Errorf("simaws: trail %q of account %q in %q: want a name, 12 digits and a region", in.Name, in.Account, in.HomeRegion)
	}
	if s.s3.bucket(in.Bucket) == nil {
		return fmt.Errorf("simaws: trail %s: no bucket %q", in.Name, in.Bucket)
	}
	st := &trailState{Trail: in, Chains: map[string]*digestChain{}}
	if err := st.parse(); err != nil {
		return fmt.Errorf("simaws: trail %s: selectors: %w", in.Name, err)
	}
	t := s.trail
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, old := range t.state.Trails {
		if old.ARN() == in.ARN() {
			if in.Digests {
				st.Chains = old.Chains
			} // else the next digest begins a new chain, as CloudTrail's does
			t.state.Trails[i] = st
			return t.save()
		}
	}
	t.state.Trails = append(t.state.Trails, st)
	return t.save()
}

// DeleteTrail ends a trail; what it has delivered stays in its bucket.
func (s *Sim) DeleteTrail(t Trail) {
	s.trail.mu.Lock()
	defer s.trail.mu.Unlock()
	s.trail.state.Trails = slices.DeleteFunc(s.trail.state.Trails, func(old *trailState) bool { return old.ARN() == t.ARN() })
}

func (t *trailState) parse() error {
	t.selectors = nil
	if t.Selectors == "" {
		return nil
	}
	return json.Unmarshal([]byte(t.Selectors), &t.selectors)
}

// takes says whether a trail delivers a record.
func (t *trailState) takes(rec *trailRecord, data bool, arn string) bool {
	if rec.RecipientAccountID != t.Account && (t.Organization == "" || !slices.Contains(t.Members, rec.RecipientAccountID)) {
		return false
	}
	if rec.AWSRegion != t.HomeRegion && !t.MultiRegion {
		return false
	}
	if len(t.selectors) == 0 {
		return !data
	}
	return slices.ContainsFunc(t.selectors, func(s selector) bool { return s.takes(rec, data, arn) })
}

func (s *selector) takes(rec *trailRecord, data bool, arn string) bool {
	if len(s.FieldSelectors) > 0 {
		return !slices.ContainsFunc(s.FieldSelectors, func(f fieldSelector) bool { return !f.takes(rec, data, arn) })
	}
	if s.ReadWriteType == "ReadOnly" && !rec.ReadOnly || s.ReadWriteType == "WriteOnly" && rec.ReadOnly {
		return false
	}
	if !data {
		return s.IncludeManagementEvents == nil || *s.IncludeManagementEvents
	}
	for _, r := range s.DataResources {
		for _, v := range r.Values {
			if strings.HasPrefix(arn, v) {
				return true
			}
		}
	}
	return false
}

func (f *fieldSelector) takes(rec *trailRecord, data bool, arn string) bool {
	v := ""
	switch f.Field {
	case "eventCategory":
		v = "Management"
		if data {
			v = "Data"
		}
	case "eventName":
		v = rec.EventName
	case "eventSource":
		v = rec.EventSource
	case "readOnly":
		v = fmt.Sprint(rec.ReadOnly)
	case "resources.ARN":
		v = arn
	case "resources.type":
		if _, service, _, _, _, _ := splitARN(arn); service == "dynamodb" {
			v = "AWS::DynamoDB::Table"
		} else {
			v = "AWS::S3::Object"
		}
	}
	any := func(list []string, is func(string, string) bool) bool {
		return slices.ContainsFunc(list, func(x string) bool { return is(v, x) })
	}
	equal := func(a, b string) bool { return a == b }
	positive := len(f.Equals)+len(f.StartsWith)+len(f.EndsWith) == 0 ||
		any(f.Equals, equal) || any(f.StartsWith, strings.HasPrefix) || any(f.EndsWith, strings.HasSuffix)
	return positive && !any(f.NotEquals, equal) && !any(f.NotStartsWith, strings.HasPrefix) && !any(f.NotEndsWith, strings.HasSuffix)
}

// root is where a trail's files for an account begin:
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/get-and-view-cloudtrail-log-files.html
func (t *Trail) root(account string) string {
	p := "AWSLogs/"
	if t.Prefix != "" {
		p = t.Prefix + "/" + p
	}
	if t.Organization != "" {
		p += t.Organization + "/"
	}
	return p + account + "/"
}

// TrailFaults make deliveries misbehave: every so many-th record, counted from
// the call on, 0 for none.
type TrailFaults struct {
	// DropEvery records are never delivered; LookupEvents has them.
	DropEvery int
	// DoubleEvery records come once more, in a file of their own.
	DoubleEvery int
	// DelayEvery records come Delay later than others.
	DelayEvery int
	Delay      time.Duration
}

// SetTrailFaults applies to the records of calls from now on.
func (s *Sim) SetTrailFaults(f TrailFaults) {
	s.trail.mu.Lock()
	defer s.trail.mu.Unlock()
	s.trail.faults, s.trail.count = f, 0
}
