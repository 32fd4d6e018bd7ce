package simaws

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Instance is an EC2 instance. State is "running" when empty.
type Instance struct {
	Account, Region, ID string
	Type, State         string
	PrivateIP           string
	Tags                map[string]string
	Launched            time.Time
}

// fleet is all instances of all accounts.
type fleet struct {
	file string
	mu   sync.Mutex
	all  map[string]*Instance // by id
}

func openFleet(file string) (*fleet, error) {
	f := &fleet{file: file, all: map[string]*Instance{}}
	raw, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &f.all); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return f, nil
}

func (f *fleet) save() error {
	raw, err := json.Marshal(f.all)
	if err != nil {
		return err
	}
	return writeFile(f.file, raw, 0o600)
}

// PutInstances creates instances, or replaces those of the same id.
func (s *Sim) PutInstances(list ...Instance) error {
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	for _, in := range list {
		if !accountID.MatchString(in.Account) || !strings.HasPrefix(in.ID, "i-") || !regionLabel.MatchString(in.Region) {
			return fmt.Errorf("simaws: instance %q of account %q in %q: want i-…, 12 digits, a region", in.ID, in.Account, in.Region)
		}
		if in.Type == "" {
			in.Type = "t3.micro"
		}
		if in.State == "" {
			in.State = "running"
		}
		if in.PrivateIP == "" {
			in.PrivateIP = "10.0.0.10"
		}
		if in.Launched.IsZero() {
			in.Launched = s.now()
		}
		s.ec2.all[in.ID] = &in
	}
	return s.ec2.save()
}

var stateCodes = map[string]int{"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}

// serveEC2: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/
func (s *Sim) serveEC2(c *call) error {
	if err := c.parseForm(); err != nil {
		return err
	}
	action := c.form.Get("Action")
	var do func(*call, *bytes.Buffer) error
	switch action {
	case "DescribeInstances":
		do = s.describeInstances
	case "TerminateInstances":
		do = s.terminateInstances
	case "DescribeRegions":
		do = describeRegions
	case "DescribeAvailabilityZones":
		do = describeZones
	default:
		return s.serveUnknown(c)
	}
	c.event.source = "ec2.amazonaws.com"
	c.event.nameIt(action)
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n<" + action + `Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">`)
	element(&b, "requestId", c.requestID)
	if err := do(c, &b); err != nil {
		return err
	}
	b.WriteString("</" + action + "Response>")
	c.answer(http.StatusOK, "text/xml;charset=UTF-8", b.Bytes())
	return nil
}

// formList reads Name.1, Name.2 …
func formList(f url.Values, name string) []string {
	var out []string
	for i := 1; f.Has(name + "." + strconv.Itoa(i)); i++ {
		out = append(out, f.Get(name+"."+strconv.Itoa(i)))
	}
	return out
}

func instanceSet(ids []string) map[string]any {
	if len(ids) == 0 {
		return map[string]any{}
	}
	items := make([]map[string]string, len(ids))
	for i, id := range ids {
		items[i] = map[string]string{"instanceId": id}
	}
	return map[string]any{"items": items}
}

// find returns the caller's instances of this region: those of ids, or all.
func (f *fleet) find(c *call, ids []string) ([]*Instance, error) {
	var out []*Instance
	if len(ids) == 0 {
		for _, id := range slices.Sorted(maps.Keys(f.all)) {
			if in := f.all[id]; in.Account == c.who.account && in.Region == c.ep.region {
				out = append(out, in)
			}
		}
		return out, nil
	}
	for _, id := range ids {
		in := f.all[id]
		if in == nil || in.Account != c.who.account || in.Region != c.ep.region {
			return nil, failure(http.StatusBadRequest, "InvalidInstanceID.NotFound", "The instance ID '"+id+"' does not exist")
		}
		out = append(out, in)
	}
	return out, nil
}

func (s *Sim) describeInstances(c *call, b *bytes.Buffer) error {
	ids := formList(c.form, "InstanceId")
	c.event.request = map[string]any{"instancesSet": instanceSet(ids), "filterSet": map[string]any{}}
	if err := c.authorize("ec2:DescribeInstances", "*"); err != nil {
		return err
	}
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	found, err := s.ec2.find(c, ids)
	if err != nil {
		return err
	}
	b.WriteString("<reservationSet>")
	for _, in := range found {
		keep, err := in.passes(c.form)
		if err != nil {
			return err
		}
		if keep {
			in.xml(b)
		}
	}
	b.WriteString("</reservationSet>")
	return nil
}

// passes applies Filter.N; what it does not know it refuses.
func (in *Instance) passes(f url.Values) (bool, error) {
	for i := 1; f.Has(fmt.Sprintf("Filter.%d.Name", i)); i++ {
		name, values := f.Get(fmt.Sprintf("Filter.%d.Name", i)), formList(f, fmt.Sprintf("Filter.%d.Value", i))
		var have string
		tag, isTag := strings.CutPrefix(name, "tag:")
		switch {
		case isTag:
			have = in.Tags[tag]
		case name == "instance-state-name":
			have = in.State
		case name == "instance-id":
			have = in.ID
		case name == "instance-type":
			have = in.Type
		default:
			return false, failure(http.StatusBadRequest, "InvalidParameterValue", "The filter '"+name+"' is invalid")
		}
		if !matchesAny(values, have, false) {
			return false, nil
		}
	}
	return true, nil
}

func (in *Instance) xml(b *bytes.Buffer) {
	b.WriteString("<item>")
	element(b, "reservationId", "r-"+strings.TrimPrefix(in.ID, "i-"))
	element(b, "ownerId", in.Account)
	b.WriteString("<groupSet/><instancesSet><item>")
	element(b, "instanceId", in.ID)
	element(b, "imageId", "ami-0abcdef1234567890")
	stateXML(b, "instanceState", in.State)
	element(b, "instanceType", in.Type)
	element(b, "launchTime", in.Launched.UTC().Format("2006-01-02T15:04:05.000Z"))
	b.WriteString("<placement>")
	element(b, "availabilityZone", in.Region+"a")
	element(b, "tenancy", "default")
	b.WriteString("</placement>")
	element(b, "privateIpAddress", in.PrivateIP)
	b.WriteString("<tagSet>")
	for _, k := range slices.Sorted(maps.Keys(in.Tags)) {
		b.WriteString("<item>")
		element(b, "key", k)
		element(b, "value", in.Tags[k])
		b.WriteString("</item>")
	}
	b.WriteString("</tagSet></item></instancesSet></item>")
}

func stateXML(b *bytes.Buffer, name, state string) {
	b.WriteString("<" + name + ">")
	element(b, "code", strconv.Itoa(stateCodes[state]))
	element(b, "name", state)
	b.WriteString("</" + name + ">")
}

func (s *Sim) terminateInstances(c *call, b *bytes.Buffer) error {
	ids := formList(c.form, "InstanceId")
	c.event.request = map[string]any{"instancesSet": instanceSet(ids)}
	if len(ids) == 0 {
		return failure(http.StatusBadRequest, "MissingParameter", "The request must contain the parameter InstanceId")
	}
	for _, id := range ids {
		if err := c.authorize("ec2:TerminateInstances", "arn:"+c.who.partition+":ec2:"+c.ep.region+":"+c.who.account+":instance/"+id); err != nil {
			return err
		}
	}
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	found, err := s.ec2.find(c, ids)
	if err != nil {
		return err
	}
	var items []map[string]any
	b.WriteString("<instancesSet>")
	for _, in := range found {
		was := in.State
		now := "shutting-down"
		if was == "terminated" {
			now = was
		}
		in.State = "terminated"
		b.WriteString("<item>")
		element(b, "instanceId", in.ID)
		stateXML(b, "currentState", now)
		stateXML(b, "previousState", was)
		b.WriteString("</item>")
		items = append(items, map[string]any{"instanceId": in.ID,
			"currentState":  map[string]any{"code": stateCodes[now], "name": now},
			"previousState": map[string]any{"code": stateCodes[was], "name": was}})
	}
	b.WriteString("</instancesSet>")
	c.event.response = map[string]any{"requestId": c.requestID, "instancesSet": map[string]any{"items": items}}
	return s.ec2.save()
}

// partitionRegions are enough regions to look like AWS in a listing.
var partitionRegions = map[string][]string{
	"aws":        {"eu-central-1", "eu-north-1", "eu-west-1", "us-east-1", "us-east-2", "us-west-2"},
	"aws-cn":     {"cn-north-1", "cn-northwest-1"},
	"aws-us-gov": {"us-gov-east-1", "us-gov-west-1"},
}

func describeRegions(c *call, b *bytes.Buffer) error {
	c.event.request = map[string]any{"regionSet": map[string]any{}}
	if err := c.authorize("ec2:DescribeRegions", "*"); err != nil {
		return err
	}
	want := formList(c.form, "RegionName")
	b.WriteString("<regionInfo>")
	for _, r := range partitionRegions[c.ep.partition] {
		if len(want) > 0 && !slices.Contains(want, r) {
			continue
		}
		b.WriteString("<item>")
		element(b, "regionName", r)
		element(b, "regionEndpoint", "ec2."+r+".amazonaws.com")
		element(b, "optInStatus", "opt-in-not-required")
		b.WriteString("</item>")
	}
	b.WriteString("</regionInfo>")
	return nil
}

func describeZones(c *call, b *bytes.Buffer) error {
	c.event.request = map[string]any{"availabilityZoneSet": map[string]any{}, "availabilityZoneIdSet": map[string]any{}}
	if err := c.authorize("ec2:DescribeAvailabilityZones", "*"); err != nil {
		return err
	}
	b.WriteString("<availabilityZoneInfo>")
	for i, z := range []string{"a", "b", "c"} {
		b.WriteString("<item>")
		element(b, "zoneName", c.ep.region+z)
		element(b, "zoneState", "available")
		element(b, "regionName", c.ep.region)
		element(b, "zoneId", strings.ReplaceAll(c.ep.region, "-", "")+"-az"+strconv.Itoa(i+1))
		element(b, "optInStatus", "opt-in-not-required")
		element(b, "groupName", c.ep.region)
		element(b, "networkBorderGroup", c.ep.region)
		element(b, "zoneType", "availability-zone")
		b.WriteString("<messageSet/></item>")
	}
	b.WriteString("</availabilityZoneInfo>")
	return nil
}
