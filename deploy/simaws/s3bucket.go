package simaws

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"time"
)

const s3Namespace = `xmlns="http://s3.amazonaws.com/doc/2006-03-01/"`

// Bucket is a bucket to start with.
type Bucket struct {
	Account, Region, Name string
	// DataEvents makes CloudTrail record the object-level calls on it.
	DataEvents bool
}

// PutBucket creates a bucket; on one that exists it changes DataEvents only.
func (s *Sim) PutBucket(in Bucket) error {
	if !accountID.MatchString(in.Account) || !regionLabel.MatchString(in.Region) || !bucketName.MatchString(in.Name) {
		return fmt.Errorf("simaws: bucket %q of account %q in %q: want a bucket name, 12 digits and a region", in.Name, in.Account, in.Region)
	}
	b, err := s.s3.create(bucketMeta{Name: in.Name, Account: in.Account, Region: in.Region, Created: s.now(), DataEvents: in.DataEvents})
	if errors.Is(err, errBucketExists) {
		if b.meta.Account != in.Account || b.meta.Region != in.Region {
			return fmt.Errorf("simaws: bucket %s exists in account %s, %s", in.Name, b.meta.Account, b.meta.Region)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.meta.DataEvents = in.DataEvents
		return b.saveMeta()
	}
	if err != nil {
		return fmt.Errorf("simaws: bucket %s: %w", in.Name, err)
	}
	return nil
}

// s3Time is how S3 writes times in XML.
func s3Time(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// ownerID is the canonical user id, which is a hash in AWS too.
func ownerID(account string) string { return sha256Hex([]byte("canonical user " + account)) }

func ownerXML(b *bytes.Buffer, name, account string) {
	b.WriteString("<" + name + ">")
	element(b, "ID", ownerID(account))
	b.WriteString("</" + name + ">")
}

func (c *s3Call) xml(body func(*bytes.Buffer)) error {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	body(&b)
	c.answer(http.StatusOK, "application/xml", b.Bytes())
	return nil
}

func (c *s3Call) noContent() error {
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func listBuckets(c *s3Call) error {
	return c.xml(func(b *bytes.Buffer) {
		b.WriteString("<ListAllMyBucketsResult " + s3Namespace + ">")
		ownerXML(b, "Owner", c.who.account)
		b.WriteString("<Buckets>")
		for _, bk := range c.store.owned(c.who.account) {
			b.WriteString("<Bucket>")
			element(b, "Name", bk.meta.Name)
			element(b, "CreationDate", s3Time(bk.meta.Created))
			element(b, "BucketRegion", bk.meta.Region)
			b.WriteString("</Bucket>")
		}
		b.WriteString("</Buckets></ListAllMyBucketsResult>")
	})
}

func createBucket(c *s3Call) error {
	if !bucketName.MatchString(c.bucketName) || directoryBucket.MatchString(c.bucketName) != c.express() {
		return failure(http.StatusBadRequest, "InvalidBucketName", "The specified bucket is not valid.", field{"BucketName", c.bucketName})
	}
	var conf struct {
		LocationConstraint string
		Tags               tagSetXML
	}
	if len(c.body) > 0 {
		if err := xml.Unmarshal(c.body, &conf); err != nil {
			return malformedXML()
		}
	}
	region := conf.LocationConstraint
	if c.express() {
		region = c.ep.region
	} else if region == "" {
		region = globalRegion["aws"]
	} else if region == "EU" {
		region = "eu-west-1"
	}
	if region != c.ep.region && !c.ep.global {
		if conf.LocationConstraint == "" {
			return failure(http.StatusBadRequest, "IllegalLocationConstraintException", "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to.")
		}
		return failure(http.StatusBadRequest, "IllegalLocationConstraintException", "The "+region+" location constraint is incompatible for the region specific endpoint this request was sent to.")
	}
	meta := bucketMeta{Name: c.bucketName, Account: c.who.account, Region: region, Created: c.at, Sub: map[string]string{}}
	if len(conf.Tags.Tag) > 0 {
		raw, err := xml.Marshal(taggingXML{TagSet: conf.Tags})
		if err != nil {
			return err
		}
		meta.Sub["tagging"] = string(raw)
	}
	b, err := c.store.create(meta)
	if errors.Is(err, errBucketExists) {
		if b.meta.Account == c.who.account {
			return failure(http.StatusConflict, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.", field{"BucketName", c.bucketName})
		}
		return failure(http.StatusConflict, "BucketAlreadyExists", "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.", field{"BucketName", c.bucketName})
	}
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/"+c.bucketName)
	c.w.Header().Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func deleteBucket(c *s3Call) error {
	empty, err := c.store.remove(c.bucket)
	if err != nil {
		return err
	}
	if !empty {
		return failure(http.StatusConflict, "BucketNotEmpty", "The bucket you tried to delete is not empty", field{"BucketName", c.bucketName})
	}
	return c.noContent()
}

func headBucket(c *s3Call) error {
	c.w.Header().Set("X-Amz-Bucket-Region", c.bucket.meta.Region)
	c.w.Header().Set("X-Amz-Access-Point-Alias", "false")
	c.w.Header().Set("Content-Type", "application/xml")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func getLocation(c *s3Call) error {
	return c.xml(func(b *bytes.Buffer) {
		region := c.bucket.meta.Region
		if region == globalRegion["aws"] {
			region = "" // us-east-1 is the absence of a constraint
		}
		b.WriteString("<LocationConstraint " + s3Namespace + ">" + region + "</LocationConstraint>")
	})
}

func malformedXML() error {
	return failure(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
}
