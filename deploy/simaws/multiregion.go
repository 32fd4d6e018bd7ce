package simaws

import (
	"bytes"
	"encoding/base32"
	"encoding/xml"
	"errors"
	"io/fs"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// regionPoints are S3's Multi-Region Access Points, of all accounts.
type regionPoints struct {
	file string
	mu   sync.Mutex
	all  []regionPoint
}

// regionPoint leads to buckets of several regions. AWS chooses the nearest, the
// simulation the first whose region the signature is good for.
type regionPoint struct {
	Account, Name, Alias string
	Buckets              []string
	Created              time.Time
}

func openRegionPoints(file string) (*regionPoints, error) {
	p := &regionPoints{file: file}
	if err := readJSON(file, &p.all); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return p, nil
}

func (p *regionPoints) find(match func(*regionPoint) bool) *regionPoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.IndexFunc(p.all, func(x regionPoint) bool { return match(&x) }); i >= 0 {
		x := p.all[i]
		return &x
	}
	return nil
}

// route finds the bucket behind the access point that the host names, and with it the
// region in which the request is answered.
func (s *Sim) route(c *call) {
	alias := c.ep.bucket
	c.ep.point = s.points.find(func(p *regionPoint) bool { return p.Alias == alias })
	c.ep.region = globalRegion[c.ep.partition]
	good := c.sig.regions
	if c.sig.alg == algorithm { // is taken, too, if it is for the right region
		good = []string{c.sig.region}
	}
	if c.ep.point == nil {
		return // there is no such bucket, either
	}
	for i, name := range c.ep.point.Buckets {
		b := s.s3.bucket(name)
		if b == nil {
			continue
		}
		if covered := coveredBy(good, b.meta.Region); covered || i == 0 {
			if c.ep.bucket, c.ep.region = name, b.meta.Region; covered {
				return
			}
		}
	}
}

// admitPoint asks whether the caller may do op through the access point; whether it may
// at the bucket is asked besides.
func (c *s3Call) admitPoint(op s3Op) error {
	if op.action == "" || op.event == "DeleteBucket" {
		return failure(http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource.")
	}
	arn := pointARN(c.call, c.ep.point.Account, c.ep.point.Alias)
	if c.key != "" {
		arn += "/object/" + c.key
	}
	return c.authorize(op.action, arn)
}

var pointName = regexp.MustCompile(`^[a-z0-9][-a-z0-9]{1,48}[a-z0-9]$`)

// serveS3Control has the Multi-Region Access Points of S3's other API:
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_control_CreateMultiRegionAccessPoint.html
func (s *Sim) serveS3Control(c *call) error {
	name, ok := strings.CutPrefix(c.path, "/v20180820/mrap/instances/")
	create := c.r.Method == http.MethodPost && c.path == "/v20180820/async-requests/mrap/create"
	if get := ok && c.r.Method == http.MethodGet && name != "" && !strings.Contains(name, "/"); !get && !create || c.ep.region != "us-west-2" {
		return s.serveUnknown(c)
	}
	if declared := c.sig.payload; declared != unsignedPayload && declared != c.bodyHash {
		return failure(http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	c.event.source = "s3.amazonaws.com"
	if create {
		return s.createRegionPoint(c)
	}
	c.event.name, c.event.readOnly = "GetMultiRegionAccessPoint", true
	if err := c.authorize("s3:"+c.event.name, pointARN(c, c.who.account, name)); err != nil {
		return err
	}
	p := s.points.find(func(p *regionPoint) bool { return p.Account == c.who.account && p.Name == name })
	if p == nil {
		return failure(http.StatusNotFound, "NoSuchMultiRegionAccessPoint", "The specified Multi-Region Access Point does not exist")
	}
	return c.controlXML("GetMultiRegionAccessPointResult", func(b *bytes.Buffer) {
		b.WriteString("<AccessPoint>")
		element(b, "Name", p.Name)
		element(b, "Alias", p.Alias)
		element(b, "CreatedAt", s3Time(p.Created))
		element(b, "Status", "READY")
		b.WriteString("<Regions>")
		for _, name := range p.Buckets {
			b.WriteString("<Region>")
			element(b, "Bucket", name)
			if bucket := s.s3.bucket(name); bucket != nil {
				element(b, "Region", bucket.meta.Region)
			}
			b.WriteString("</Region>")
		}
		b.WriteString("</Regions></AccessPoint>")
	})
}

func (s *Sim) createRegionPoint(c *call) error {
	c.event.name = "CreateMultiRegionAccessPoint"
	var in struct {
		ClientToken string
		Details     struct {
			Name    string
			Regions struct {
				Region []struct{ Bucket string }
			}
		}
	}
	if err := xml.Unmarshal(c.body, &in); err != nil {
		return malformedXML()
	}
	if err := c.authorize("s3:"+c.event.name, pointARN(c, c.who.account, in.Details.Name)); err != nil {
		return err
	}
	p := regionPoint{Account: c.who.account, Name: in.Details.Name, Created: c.at}
	for _, r := range in.Details.Regions.Region {
		if b := s.s3.bucket(r.Bucket); b == nil || b.meta.Account != p.Account {
			return failure(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist", field{"BucketName", r.Bucket})
		}
		p.Buckets = append(p.Buckets, r.Bucket)
	}
	if !pointName.MatchString(p.Name) || len(p.Buckets) == 0 || in.ClientToken == "" {
		return failure(http.StatusBadRequest, "InvalidRequest", "ClientToken, a Name and a bucket for each of the Regions are required.")
	}
	sum := hmacSHA256([]byte(p.Account), p.Name)
	p.Alias = "m" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:7])) + ".mrap"
	s.points.mu.Lock()
	defer s.points.mu.Unlock()
	if slices.ContainsFunc(s.points.all, func(x regionPoint) bool { return x.Alias == p.Alias }) {
		return failure(http.StatusConflict, "MultiRegionAccessPointAlreadyOwnedByYou", "You already have a Multi-Region Access Point with the same name.")
	}
	s.points.all = append(s.points.all, p)
	if err := writeJSON(s.points.file, s.points.all); err != nil {
		return err
	}
	return c.controlXML("CreateMultiRegionAccessPointResult", func(b *bytes.Buffer) {
		element(b, "RequestTokenARN", "arn:"+c.ep.partition+":s3:us-west-2:"+p.Account+":async-request/mrap/create/"+c.requestID)
	})
}

// pointARN is the ARN of an access point by its name or, in requests for objects, its
// alias.
func pointARN(c *call, account, name string) string {
	return "arn:" + c.ep.partition + ":s3::" + account + ":accesspoint/" + name
}

func (c *call) controlXML(name string, body func(*bytes.Buffer)) error {
	var b bytes.Buffer
	b.WriteString(xml.Header + "<" + name + ` xmlns="http://awss3control.amazonaws.com/doc/2018-08-20/">`)
	body(&b)
	b.WriteString("</" + name + ">")
	c.answer(http.StatusOK, "application/xml", b.Bytes())
	return nil
}
