package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"go.yaml.in/yaml/v3"

	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded"
)

// RetentionConfig is for how long ClickHouse keeps rows.
type RetentionConfig struct {
	Requests   Age `yaml:"requests"`   // calls and tunnels
	CloudTrail Age `yaml:"cloudtrail"` // AWS's records
	Events     Age `yaml:"events"`     // the ledger's events of AUDIT and CLOUDTRAIL
}

// TiersConfig is where older rows are.
type TiersConfig struct {
	ColdAfter Age `yaml:"cold_after"`
	// Policy and Volume are of the server's own configuration; beside the embedded
	// server default "postern" and "cold".
	Policy string `yaml:"policy"`
	Volume string `yaml:"volume"`
	// Path or S3 is where the embedded server's cold volume is.
	Path string        `yaml:"path"`
	S3   *TierS3Config `yaml:"s3"`
}

// TierS3Config is a place in a bucket.
type TierS3Config struct {
	Endpoint string `yaml:"endpoint"` // URL of bucket and prefix, with a slash at the end
	Region   string `yaml:"region"`
	// CredentialsFile is a shared credentials file of AWS's with a profile default;
	// without it, the role of the machine.
	CredentialsFile string `yaml:"credentials_file"`
}

// Age is a duration in days such as 400d, or as Go writes it; 0 and "keep" are for good.
type Age time.Duration

// UnmarshalYAML reads it.
func (a *Age) UnmarshalYAML(n *yaml.Node) error {
	if n.Value == "keep" {
		*a = 0
		return nil
	}
	d, err := time.ParseDuration(n.Value)
	if days, ok := strings.CutSuffix(n.Value, "d"); ok {
		var count uint64
		count, err = strconv.ParseUint(days, 10, 16)
		d = time.Duration(count) * 24 * time.Hour
	}
	if n.Kind != yaml.ScalarNode || err != nil || d < 0 {
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: there is %q where an age such as 400d, or keep, belongs", n.Line, n.Value)}}
	}
	*a = Age(d)
	return nil
}

// leastAge is how long rows have to be kept: the comparison with CloudTrail looks
// back a day for what a late record is of.
const leastAge = Age(2 * 24 * time.Hour)

var policyName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// checkAges finds what is wrong with retention and tiers.
func (c *ClickHouseConfig) checkAges() (key, problem string) {
	for _, a := range []struct {
		key string
		age Age
	}{{"requests", c.Retention.Requests}, {"cloudtrail", c.Retention.CloudTrail}, {"events", c.Retention.Events}} {
		if a.age > 0 && a.age < leastAge {
			return "retention." + a.key, "must be 2d or more: records of CloudTrail come late, and what they are of must be there; or keep"
		}
	}
	t := c.Tiers
	if t == nil {
		return "", ""
	}
	if t.ColdAfter <= 0 {
		return "tiers.cold_after", "give the age from which rows move, such as 30d"
	}
	for _, name := range []struct{ key, value string }{{"policy", t.Policy}, {"volume", t.Volume}} {
		if name.value != "" && !policyName.MatchString(name.value) {
			return "tiers." + name.key, "must be a name of letters, digits and _"
		}
	}
	if !c.Embedded {
		switch {
		case t.Path != "" || t.S3 != nil:
			return "tiers", "path and s3 are for the embedded server: a ClickHouse server's disks are in its own configuration; give policy and volume"
		case t.Policy == "" || t.Volume == "":
			return "tiers", "give policy and volume: a storage policy of the ClickHouse server and the volume of it that is cold"
		}
		return "", ""
	}
	switch {
	case (t.Path != "") == (t.S3 != nil):
		return "tiers", "give path, a directory, or s3"
	case t.Path != "" && !filepath.IsAbs(t.Path):
		return "tiers.path", "must be an absolute path"
	case t.Policy == "default" || t.Volume == "default":
		return "tiers", "default is the name of what is there already: give another one"
	case t.S3 != nil:
		u, err := url.Parse(t.S3.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || !strings.HasSuffix(u.Path, "/") {
			return "tiers.s3.endpoint", "must be the URL of bucket and prefix, https://BUCKET.s3.REGION.amazonaws.com/PREFIX/"
		}
		if f := t.S3.CredentialsFile; f != "" {
			if _, err := os.Stat(f); err != nil {
				return "tiers.s3.credentials_file", err.Error()
			}
		}
	}
	return "", ""
}

func (c RetentionConfig) retention() store.Retention {
	return store.Retention{Requests: time.Duration(c.Requests), CloudTrail: time.Duration(c.CloudTrail), Events: time.Duration(c.Events)}
}

func (t *TiersConfig) tiers() store.Tiers {
	if t == nil {
		return store.Tiers{}
	}
	policy, volume := t.names()
	return store.Tiers{Policy: policy, Volume: volume, After: time.Duration(t.ColdAfter)}
}

func (t *TiersConfig) names() (policy, volume string) {
	if policy, volume = t.Policy, t.Volume; policy == "" {
		policy = "postern"
	}
	if volume == "" {
		volume = "cold"
	}
	return policy, volume
}

// cold is the embedded server's cold volume, nil where none is configured.
func (t *TiersConfig) cold() (*embedded.Cold, error) {
	if t == nil {
		return nil, nil
	}
	c := &embedded.Cold{Path: t.Path}
	c.Policy, c.Volume = t.names()
	if t.S3 == nil {
		return c, os.MkdirAll(t.Path, 0o700)
	}
	c.S3 = &embedded.ColdS3{Endpoint: t.S3.Endpoint, Region: t.S3.Region}
	if f := t.S3.CredentialsFile; f != "" {
		p, err := awsconfig.LoadSharedConfigProfile(context.Background(), "default", func(o *awsconfig.LoadSharedConfigOptions) {
			o.CredentialsFiles, o.ConfigFiles = []string{f}, []string{}
		})
		if err != nil || !p.Credentials.HasKeys() {
			return nil, fmt.Errorf("clickhouse.tiers.s3.credentials_file: %s: no access key in profile default", f)
		}
		c.S3.AccessKeyID, c.S3.SecretAccessKey = p.Credentials.AccessKeyID, p.Credentials.SecretAccessKey
	}
	return c, nil
}
