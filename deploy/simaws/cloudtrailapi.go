package simaws

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

type cloudTrailInput struct {
	TrailName, Name    string
	TrailNameList      []string `json:"trailNameList"`
	StartTime, EndTime float64
	MaxResults         int
	NextToken          string
	EventCategory      string
}

// lookupEvery is how often an account may ask LookupEvents in a region:
// https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
const lookupEvery = 500 * time.Millisecond

// serveCloudTrail: https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/
func (s *Sim) serveCloudTrail(c *call) error {
	target := c.r.Header.Get("X-Amz-Target")
	name := target[strings.LastIndexByte(target, '.')+1:]
	operations := map[string]func(*call, *cloudTrailInput) (any, error){
		"DescribeTrails": s.describeTrails, "GetTrail": s.getTrail, "GetTrailStatus": s.getTrailStatus,
		"GetEventSelectors": s.getEventSelectors, "ListPublicKeys": s.listPublicKeys, "LookupEvents": s.lookupEvents,
	}
	do := operations[name]
	if do == nil || c.proto != protoJSON {
		return s.serveUnknown(c)
	}
	c.event.source = "cloudtrail.amazonaws.com"
	c.event.nameIt(name)
	c.event.readOnly = true
	var in cloudTrailInput
	if err := json.Unmarshal(c.body, &in); err != nil {
		return failure(http.StatusBadRequest, "SerializationException", "the request body is not what "+name+" takes")
	}
	if err := c.authorize("cloudtrail:"+name, "*"); err != nil {
		return err
	}
	out, err := do(c, &in)
	if err != nil {
		return err
	}
	return c.json("1.1", out)
}

// seen lists the trails that an account sees in a region; t.mu is held.
func (t *trail) seen(account, region string) []*trailState {
	return slices.DeleteFunc(slices.Clone(t.state.Trails), func(tr *trailState) bool {
		return tr.Account != account && !slices.Contains(tr.Members, account) || tr.HomeRegion != region && !tr.MultiRegion
	})
}

func (t *trailState) describe() map[string]any {
	d := map[string]any{
		"Name": t.Name, "TrailARN": t.ARN(), "S3BucketName": t.Bucket, "HomeRegion": t.HomeRegion, "IsMultiRegionTrail": t.MultiRegion,
		"IsOrganizationTrail": t.Organization != "", "LogFileValidationEnabled": t.Digests, "IncludeGlobalServiceEvents": true,
		"HasCustomEventSelectors": t.Selectors != "", "HasInsightSelectors": false,
	}
	if t.Prefix != "" {
		d["S3KeyPrefix"] = t.Prefix
	}
	return d
}

func (s *Sim) describeTrails(c *call, in *cloudTrailInput) (any, error) {
	s.trail.mu.Lock()
	defer s.trail.mu.Unlock()
	list := []map[string]any{}
	for _, t := range s.trail.seen(c.who.account, c.ep.region) {
		if len(in.TrailNameList) == 0 || slices.Contains(in.TrailNameList, t.Name) || slices.Contains(in.TrailNameList, t.ARN()) {
			list = append(list, t.describe())
		}
	}
	return map[string]any{"trailList": list}, nil
}

// trailNamed finds a trail by name or ARN; t.mu is held.
func (s *Sim) trailNamed(c *call, name string) (*trailState, error) {
	for _, t := range s.trail.seen(c.who.account, c.ep.region) {
		if t.Name == name || t.ARN() == name {
			return t, nil
		}
	}
	return nil, failure(http.StatusBadRequest, "TrailNotFoundException", "Unknown trail: "+name+" for the user: "+c.who.account)
}

func (s *Sim) getTrail(c *call, in *cloudTrailInput) (any, error) {
	s.trail.mu.Lock()
	defer s.trail.mu.Unlock()
	t, err := s.trailNamed(c, in.Name)
	if err != nil {
		return nil, err
	}
	return map[string]any{"Trail": t.describe()}, nil
}

func (s *Sim) getTrailStatus(c *call, in *cloudTrailInput) (any, error) {
	s.trail.mu.Lock()
	defer s.trail.mu.Unlock()
	if _, err := s.trailNamed(c, in.Name); err != nil {
		return nil, err
	}
	return map[string]any{"IsLogging": true}, nil
}

func (s *Sim) getEventSelectors(c *call, in *cloudTrailInput) (any, error) {
	s.trail.mu.Lock()
	defer s.trail.mu.Unlock()
	t, err := s.trailNamed(c, in.TrailName)
	if err != nil {
		return nil, err
	}
	out := map[string]any{"TrailARN": t.ARN()}
	switch {
	case len(t.selectors) == 0:
		out["EventSelectors"] = []map[string]any{{"ReadWriteType": "All", "IncludeManagementEvents": true, "DataResources": []any{}, "ExcludeManagementEventSources": []any{}}}
	case len(t.selectors[0].FieldSelectors) > 0:
		out["AdvancedEventSelectors"] = t.selectors
	default:
		out["EventSelectors"] = t.selectors
	}
	return out, nil
}

func (s *Sim) listPublicKeys(c *call, in *cloudTrailInput) (any, error) {
	s.trail.mu.Lock()
	defer s.trail.mu.Unlock()
	list := []map[string]any{}
	for _, k := range s.trail.state.Keys {
		if k.Region != c.ep.region || in.EndTime > 0 && float64(k.Start.Unix()) > in.EndTime || in.StartTime > 0 && float64(k.End.Unix()) < in.StartTime {
			continue
		}
		list = append(list, map[string]any{"Fingerprint": k.Fingerprint, "Value": base64.StdEncoding.EncodeToString(k.Public),
			"ValidityStartTime": k.Start.Unix(), "ValidityEndTime": k.End.Unix()})
	}
	return map[string]any{"PublicKeyList": list}, nil
}

func (s *Sim) lookupEvents(c *call, in *cloudTrailInput) (any, error) {
	t := s.trail
	t.mu.Lock()
	defer t.mu.Unlock()
	who := c.who.account + " " + c.ep.region
	// Two a second: a burst of two, then one every half second.
	now := time.Now()
	free := t.looked[who]
	if free.Before(now) {
		free = now
	}
	if free.Sub(now) > lookupEvery {
		return nil, failure(http.StatusBadRequest, "ThrottlingException", "Rate exceeded")
	}
	t.looked[who] = free.Add(lookupEvery)
	var found []*trailRecord
	for i := len(t.history) - 1; i >= 0; i-- { // newest first
		r := &t.history[i]
		at, _ := time.Parse(time.RFC3339, r.EventTime)
		if r.RecipientAccountID == c.who.account && r.AWSRegion == c.ep.region && (in.StartTime == 0 || float64(at.Unix()) >= in.StartTime) &&
			(in.EndTime == 0 || float64(at.Unix()) <= in.EndTime) && c.at.Sub(at) < 90*24*time.Hour {
			found = append(found, r)
		}
	}
	// A token is how many events from the oldest one on are still to come, so
	// that new ones don't shift the pages.
	left := len(found)
	if in.NextToken != "" {
		n, err := strconv.Atoi(in.NextToken)
		if err != nil || n < 0 || n > left {
			return nil, failure(http.StatusBadRequest, "InvalidNextTokenException", "The token is not valid")
		}
		left = n
	}
	size := in.MaxResults
	if size <= 0 || size > 50 {
		size = 50
	}
	page := found[len(found)-left:]
	page = page[:min(size, left)]
	list := []map[string]any{}
	for _, r := range page {
		raw, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		at, _ := time.Parse(time.RFC3339, r.EventTime)
		name, _ := r.UserIdentity["userName"].(string)
		list = append(list, map[string]any{"EventId": r.EventID, "EventName": r.EventName, "ReadOnly": fmt.Sprint(r.ReadOnly), "EventTime": at.Unix(),
			"EventSource": r.EventSource, "Username": name, "CloudTrailEvent": string(raw)})
	}
	out := map[string]any{"Events": list}
	if left > len(page) {
		out["NextToken"] = strconv.Itoa(left - len(page))
	}
	return out, nil
}

// serveOrganizations knows the organizations that trails name.
func (s *Sim) serveOrganizations(c *call) error {
	if !strings.HasSuffix(c.r.Header.Get("X-Amz-Target"), ".DescribeOrganization") {
		return s.serveUnknown(c)
	}
	c.event.source = "organizations.amazonaws.com"
	c.event.nameIt("DescribeOrganization")
	if err := c.authorize("organizations:DescribeOrganization", "*"); err != nil {
		return err
	}
	s.trail.mu.Lock()
	defer s.trail.mu.Unlock()
	for _, t := range s.trail.state.Trails {
		if t.Organization != "" && (t.Account == c.who.account || slices.Contains(t.Members, c.who.account)) {
			return c.json("1.1", map[string]any{"Organization": map[string]any{"Id": t.Organization, "MasterAccountId": t.Account, "FeatureSet": "ALL"}})
		}
	}
	return failure(http.StatusBadRequest, "AWSOrganizationsNotInUseException", "Your account is not a member of an organization.")
}
