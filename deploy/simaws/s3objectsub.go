package simaws

import (
	"bytes"
	"encoding/xml"
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// withTags stores the object again with other tags. The data stays.
func (c *s3Call) withTags(tags map[string]string) error {
	b := c.bucket
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.objects[c.key]
	if old == nil {
		return noSuchKey(c.key)
	}
	changed := *old
	changed.Tags, changed.readers = tags, 0
	if err := writeJSON(b.objectFile(c.key), &changed); err != nil {
		return err
	}
	// In place: readers of the old one hold the same data.
	old.Tags = tags
	return nil
}

func getObjectTags(c *s3Call) error {
	o, err := c.acquired()
	if err != nil {
		return err
	}
	defer c.bucket.release(o)
	c.bucket.mu.RLock()
	tags := maps.Clone(o.Tags)
	c.bucket.mu.RUnlock()
	raw, err := xml.Marshal(taggingXML{TagSet: tagList(tags)})
	if err != nil {
		return err
	}
	c.answer(http.StatusOK, "application/xml", raw)
	return nil
}

func putObjectTags(c *s3Call) error {
	var in taggingXML
	if err := xml.Unmarshal(c.body, &in); err != nil {
		return malformedXML()
	}
	tags := map[string]string{}
	for _, t := range in.TagSet.Tag {
		tags[t.Key] = t.Value
	}
	if len(tags) != len(in.TagSet.Tag) || len(tags) > 10 {
		return failure(http.StatusBadRequest, "InvalidTag", "Cannot provide multiple Tags with the same key, nor more than 10")
	}
	if err := c.withTags(tags); err != nil {
		return err
	}
	c.w.Header().Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func deleteObjectTags(c *s3Call) error {
	if err := c.withTags(nil); err != nil {
		return err
	}
	return c.noContent()
}

func getObjectACL(c *s3Call) error {
	o, err := c.acquired()
	if err != nil {
		return err
	}
	c.bucket.release(o)
	return c.xml(func(b *bytes.Buffer) { aclXML(b, c.bucket.meta.Account) })
}

func getAttributes(c *s3Call) error {
	o, err := c.acquired()
	if err != nil {
		return err
	}
	defer c.bucket.release(o)
	want := strings.Join(c.r.Header.Values("X-Amz-Object-Attributes"), ",")
	c.w.Header().Set("Last-Modified", o.Modified.UTC().Format(http.TimeFormat))
	return c.xml(func(b *bytes.Buffer) {
		b.WriteString("<GetObjectAttributesResponse " + s3Namespace + ">")
		if strings.Contains(want, "ETag") {
			element(b, "ETag", strings.Trim(o.ETag, `"`))
		}
		if strings.Contains(want, "Checksum") && o.Alg != "" {
			b.WriteString("<Checksum>")
			element(b, "Checksum"+o.Alg, o.Sum)
			element(b, "ChecksumType", o.SumType)
			b.WriteString("</Checksum>")
		}
		if strings.Contains(want, "ObjectParts") && strings.Contains(o.ETag, "-") {
			b.WriteString("<ObjectParts>")
			element(b, "PartsCount", strconv.Itoa(len(o.Segments)))
			b.WriteString("</ObjectParts>")
		}
		if strings.Contains(want, "StorageClass") {
			element(b, "StorageClass", o.class())
		}
		if strings.Contains(want, "ObjectSize") {
			element(b, "ObjectSize", strconv.FormatInt(o.Size, 10))
		}
		b.WriteString("</GetObjectAttributesResponse>")
	})
}

func (o *object) class() string {
	if c := o.Headers["X-Amz-Storage-Class"]; c != "" {
		return c
	}
	return "STANDARD"
}
