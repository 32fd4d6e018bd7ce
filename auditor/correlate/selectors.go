package correlate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Trail is a trail and what it selects.
type Trail struct {
	ARN          string
	Account      string
	HomeRegion   string
	MultiRegion  bool
	Organization bool
	// Selectors are as ParseSelectors makes them, nil where they are not known.
	Selectors []Selector
}

// Selector is a basic event selector or an advanced one, as CloudTrail's API has
// them (https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_EventSelector.html,
// API_AdvancedEventSelector.html).
type Selector struct {
	ReadWriteType                 string
	IncludeManagementEvents       *bool
	ExcludeManagementEventSources []string
	DataResources                 []struct {
		Type   string
		Values []string
	}
	FieldSelectors []FieldSelector
}

// FieldSelector is a condition of an advanced selector; all conditions must hold.
type FieldSelector struct {
	Field                                                               string
	Equals, NotEquals, StartsWith, NotStartsWith, EndsWith, NotEndsWith []string
}

// ParseSelectors reads what GetEventSelectors answers; either may be empty. A
// trail without selectors takes all management events.
func ParseSelectors(basic, advanced string) ([]Selector, error) {
	var out []Selector
	for _, text := range []string{basic, advanced} {
		if text == "" {
			continue
		}
		var some []Selector
		if err := json.Unmarshal([]byte(text), &some); err != nil {
			return nil, fmt.Errorf("event selectors: %w", err)
		}
		out = append(out, some...)
	}
	if len(out) == 0 {
		out = []Selector{{}}
	}
	return out, nil
}

// AddTrail tells of a trail, or how it is now.
func (s *State) AddTrail(t Trail) { s.trails[t.ARN] = t }

// unlogged says that trails are known which see the account and region of a
// request, and that none selects it. What is not certain counts as selected, be it for
// selectors that can't be read, and so does a trail that was stopped: then the record is
// missing.
func (s *State) unlogged(r *Request) bool {
	covered := false
	for _, t := range s.trails {
		if t.Account != r.Account && !t.Organization || !t.MultiRegion && t.HomeRegion != r.Region && r.Region != "" {
			continue
		}
		covered = true
		if len(t.Selectors) == 0 || slices.ContainsFunc(t.Selectors, func(x Selector) bool { return x.selects(r) }) {
			return false
		}
	}
	return covered
}

func (x *Selector) selects(r *Request) bool {
	data := DataEvent(r.Service, r.Operation)
	if len(x.FieldSelectors) > 0 {
		return !slices.ContainsFunc(x.FieldSelectors, func(f FieldSelector) bool { return !f.holds(r, data) })
	}
	if x.ReadWriteType == "ReadOnly" && !r.ReadOnly || x.ReadWriteType == "WriteOnly" && r.ReadOnly {
		return false
	}
	if !data {
		return (x.IncludeManagementEvents == nil || *x.IncludeManagementEvents) &&
			!slices.ContainsFunc(x.ExcludeManagementEventSources, func(source string) bool { return SameService(r.Service, r.SigningName, source) })
	}
	for _, d := range x.DataResources {
		if !slices.Contains(dataTypes(r), d.Type) {
			continue
		}
		arns := dataARNs(r)
		if len(arns) == 0 {
			return true
		}
		for _, v := range d.Values {
			if strings.Count(v, ":") == 2 || slices.ContainsFunc(arns, func(arn string) bool { return strings.HasPrefix(arn, v) }) {
				return true // "arn:aws:s3" is all of S3
			}
		}
	}
	return false
}

func (f *FieldSelector) holds(r *Request, data bool) bool {
	var values []string
	same := func(a, b string) bool { return a == b }
	switch f.Field {
	case "eventCategory":
		values = []string{"Management"}
		if data {
			values = []string{"Data"}
		}
	case "readOnly":
		values = []string{strconv.FormatBool(r.ReadOnly)}
	case "resources.type":
		values = dataTypes(r)
	case "resources.ARN":
		values = dataARNs(r)
	case "eventSource": // one of these is its name
		for _, label := range EventSources(r.Service, r.SigningName, "") {
			values = append(values, label+".amazonaws.com")
		}
		same = func(_, source string) bool { return SameService(r.Service, r.SigningName, source) }
	case "eventType":
		values = []string{"AwsApiCall"}
	case "sessionCredentialFromConsole": // else it would not have come through postern
		values = []string{"false"}
	case "userIdentity.arn":
		if role := roleName(r.RoleARN); role != "" && r.SessionName != "" {
			partition := strings.SplitN(r.RoleARN, ":", 3)[1]
			values = []string{"arn:" + partition + ":sts::" + roleAccount(r.RoleARN) + ":assumed-role/" + role + "/" + r.SessionName}
		}
	case "eventName":
		values = []string{canonical(r.Service, r.Operation)}
		same = func(a, b string) bool { return a == canonical(r.Service, b) }
	}
	if len(values) == 0 {
		return true // not known, so not excluded
	}
	return slices.ContainsFunc(values, func(v string) bool {
		any := func(list []string, fits func(string, string) bool) bool {
			return slices.ContainsFunc(list, func(x string) bool { return fits(v, x) })
		}
		positive := len(f.Equals)+len(f.StartsWith)+len(f.EndsWith) == 0 ||
			any(f.Equals, same) || any(f.StartsWith, strings.HasPrefix) || any(f.EndsWith, strings.HasSuffix)
		return positive && !any(f.NotEquals, same) && !any(f.NotStartsWith, strings.HasPrefix) && !any(f.NotEndsWith, strings.HasSuffix)
	})
}

// dataTypes are the resource types that selectors may name a request by. Those of S3
// have one each, by what the call was sent to; where that can't be told, all.
func dataTypes(r *Request) []string {
	types := dataEvents[r.Service].types
	if r.Service != "s3" {
		return types
	}
	var out []string
	for _, arn := range r.Resources {
		switch {
		case !strings.HasPrefix(arn, "arn:") || aliased(arn):
			return types
		case strings.Contains(arn, ":s3express:"):
			out = append(out, "AWS::S3Express::Object", "AWS::S3Express::AccessPoint")
		case strings.Contains(arn, ":s3-outposts:"):
			out = append(out, "AWS::S3Outposts::Object")
		case strings.Contains(arn, ":s3-object-lambda:"):
			out = append(out, "AWS::S3ObjectLambda::AccessPoint")
		case !plainS3(arn): // the bucket behind an access point may be selected, too
			out = append(out, "AWS::S3::AccessPoint", "AWS::S3::Object")
		default:
			out = append(out, "AWS::S3::Object")
		}
	}
	if len(out) == 0 {
		return types
	}
	return out
}

// plainS3 tells objects and buckets, whose ARNs name no account, from all else of S3.
func plainS3(arn string) bool {
	p := strings.SplitN(arn, ":", 6)
	return len(p) == 6 && p[2] == "s3" && p[3] == "" && p[4] == "" && !aliased(arn)
}

// aliased says that what stands in place of a bucket has a name that buckets can't
// have: it is the alias of an access point, or something else that S3 named
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html).
func aliased(arn string) bool {
	_, name, _ := strings.Cut(arn, ":::")
	name, _, _ = strings.Cut(name, "/")
	return slices.ContainsFunc([]string{"-s3alias", "--ol-s3", "--op-s3", "--x-s3", "--xa-s3", "--table-s3", ".mrap"},
		func(end string) bool { return strings.HasSuffix(name, end) })
}

// dataARNs are a request's resources as selectors write them: a bucket ends in
// a slash. What is no ARN, "*", says of none which it is. Of S3 it is none either where
// one is no bucket's or object's: a selector may mean the bucket behind an access point,
// or write the ARN with the key or without.
func dataARNs(r *Request) []string {
	var out []string
	for _, arn := range r.Resources {
		if !strings.HasPrefix(arn, "arn:") {
			continue
		}
		if r.Service == "s3" {
			if !plainS3(arn) {
				return nil
			}
			if !strings.Contains(arn, "/") {
				arn += "/"
			}
		}
		out = append(out, arn)
	}
	return out
}
