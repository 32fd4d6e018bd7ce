package simaws

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// listing is one page of keys and common prefixes, in the order of bytes.
type listing struct {
	objects   []*object
	prefixes  []string
	truncated bool
	last      string // key or prefix that the page ends with
}

// list walks the index from after on. A common prefix counts as one entry and
// the walk jumps past what is under it.
func (b *bucket) list(prefix, delimiter, after string, limit int) listing {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var out listing
	i, _ := slices.BinarySearch(b.keys, max(prefix, after))
	for i < len(b.keys) {
		key := b.keys[i]
		if !strings.HasPrefix(key, prefix) {
			break
		}
		if after != "" && key <= after {
			i++
			continue
		}
		common := ""
		if delimiter != "" {
			if j := strings.Index(key[len(prefix):], delimiter); j >= 0 {
				common = key[:len(prefix)+j+len(delimiter)]
			}
		}
		if common != "" && common <= after { // under a prefix that the last page listed
			i = b.past(common)
			continue
		}
		if len(out.objects)+len(out.prefixes) == limit {
			out.truncated = true
			return out
		}
		if common != "" {
			out.prefixes, out.last = append(out.prefixes, common), common
			i = b.past(common)
			continue
		}
		out.objects, out.last = append(out.objects, b.objects[key]), key
		i++
	}
	return out
}

// past is the index of the first key that does not start with prefix.
func (b *bucket) past(prefix string) int {
	i, _ := slices.BinarySearchFunc(b.keys, prefix, func(key, p string) int {
		if strings.HasPrefix(key, p) || key < p {
			return -1
		}
		return 1
	})
	return i
}

// listInput is what the three listings share.
type listInput struct {
	prefix, delimiter, after string
	limit                    int
	encode                   func(string) string
	encoding                 string
}

func (c *s3Call) listInput() (listInput, error) {
	in := listInput{prefix: c.param("prefix"), delimiter: c.param("delimiter"), limit: 1000,
		encode: func(s string) string { return s }, encoding: c.param("encoding-type")}
	if v := c.param("max-keys"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return in, failure(http.StatusBadRequest, "InvalidArgument", "Provided max-keys not an integer or within integer range", field{"ArgumentName", "max-keys"}, field{"ArgumentValue", v})
		}
		in.limit = min(n, 1000)
	}
	if in.encoding == "url" {
		in.encode = func(s string) string { return uriEncode(s, true) }
	} else if in.encoding != "" {
		return in, failure(http.StatusBadRequest, "InvalidArgument", "Invalid Encoding Method specified in Request", field{"ArgumentName", "encoding-type"}, field{"ArgumentValue", in.encoding})
	}
	return in, nil
}

// listObjects serves ListObjectsV2 and the older ListObjects.
func listObjects(c *s3Call) error {
	in, err := c.listInput()
	if err != nil {
		return err
	}
	v2 := c.param("list-type") == "2"
	token := c.param("continuation-token")
	if v2 {
		in.after = c.param("start-after")
		if token != "" {
			raw, err := base64.URLEncoding.DecodeString(token)
			if err != nil {
				return failure(http.StatusBadRequest, "InvalidArgument", "The continuation token provided is incorrect", field{"ArgumentName", "continuation-token"})
			}
			in.after = string(raw)
		}
	} else {
		in.after = c.param("marker")
	}
	page := c.bucket.list(in.prefix, in.delimiter, in.after, in.limit)
	return c.xml(func(b *bytes.Buffer) {
		b.WriteString("<ListBucketResult " + s3Namespace + ">")
		c.listHead(b, in, page)
		if v2 {
			element(b, "KeyCount", strconv.Itoa(len(page.objects)+len(page.prefixes)))
			if token != "" {
				element(b, "ContinuationToken", token)
			}
			if s := c.param("start-after"); s != "" {
				element(b, "StartAfter", in.encode(s))
			}
			if page.truncated && page.last != "" {
				element(b, "NextContinuationToken", base64.URLEncoding.EncodeToString([]byte(page.last)))
			}
		} else {
			element(b, "Marker", in.encode(in.after))
			if page.truncated && in.delimiter != "" {
				element(b, "NextMarker", in.encode(page.last))
			}
		}
		for _, o := range page.objects {
			b.WriteString("<Contents>")
			element(b, "Key", in.encode(o.Key))
			c.listEntry(b, o)
			if !v2 || c.param("fetch-owner") == "true" {
				ownerXML(b, "Owner", c.bucket.meta.Account)
			}
			b.WriteString("</Contents>")
		}
		listPrefixes(b, in, page)
		b.WriteString("</ListBucketResult>")
	})
}

func (c *s3Call) listHead(b *bytes.Buffer, in listInput, page listing) {
	element(b, "Name", c.bucketName)
	element(b, "Prefix", in.encode(in.prefix))
	if in.delimiter != "" {
		element(b, "Delimiter", in.encode(in.delimiter))
	}
	element(b, "MaxKeys", strconv.Itoa(in.limit))
	if in.encoding != "" {
		element(b, "EncodingType", in.encoding)
	}
	element(b, "IsTruncated", strconv.FormatBool(page.truncated))
}

func (c *s3Call) listEntry(b *bytes.Buffer, o *object) {
	element(b, "LastModified", s3Time(o.Modified))
	element(b, "ETag", o.ETag)
	if o.Alg != "" {
		element(b, "ChecksumAlgorithm", o.Alg)
		element(b, "ChecksumType", o.SumType)
	}
	element(b, "Size", strconv.FormatInt(o.Size, 10))
	element(b, "StorageClass", o.class())
}

func listPrefixes(b *bytes.Buffer, in listInput, page listing) {
	for _, p := range page.prefixes {
		b.WriteString("<CommonPrefixes>")
		element(b, "Prefix", in.encode(p))
		b.WriteString("</CommonPrefixes>")
	}
}

// listVersions: objects have one version here, called null, as in a bucket
// that never had versioning.
func listVersions(c *s3Call) error {
	in, err := c.listInput()
	if err != nil {
		return err
	}
	in.after = c.param("key-marker")
	page := c.bucket.list(in.prefix, in.delimiter, in.after, in.limit)
	return c.xml(func(b *bytes.Buffer) {
		b.WriteString("<ListVersionsResult " + s3Namespace + ">")
		c.listHead(b, in, page)
		element(b, "KeyMarker", in.encode(in.after))
		element(b, "VersionIdMarker", "")
		if page.truncated {
			element(b, "NextKeyMarker", in.encode(page.last))
			element(b, "NextVersionIdMarker", "null")
		}
		for _, o := range page.objects {
			b.WriteString("<Version>")
			element(b, "Key", in.encode(o.Key))
			element(b, "VersionId", "null")
			element(b, "IsLatest", "true")
			c.listEntry(b, o)
			ownerXML(b, "Owner", c.bucket.meta.Account)
			b.WriteString("</Version>")
		}
		listPrefixes(b, in, page)
		b.WriteString("</ListVersionsResult>")
	})
}
