package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// RoleARN is the ARN of an IAM role
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html).
type RoleARN struct {
	Partition string
	Account   string
	// Path begins and ends with a slash; Name is what stands behind it.
	Path, Name string
}

var (
	partitionForm = regexp.MustCompile(`^aws(-[a-z]+)*$`)
	accountForm   = regexp.MustCompile(`^[0-9]{12}$`)
	roleNameForm  = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
	rolePathForm  = regexp.MustCompile(`^/([!-~]+/)?$`) // 512 at most
)

// ParseRoleARN reads "arn:aws:iam::123456789012:role/path/name".
func ParseRoleARN(s string) (RoleARN, error) {
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" {
		return RoleARN{}, fmt.Errorf("%q is not an ARN; want arn:aws:iam::ACCOUNT:role/NAME", s)
	}
	path, ok := strings.CutPrefix(parts[5], "role/")
	if parts[2] != "iam" || parts[3] != "" || !ok {
		return RoleARN{}, fmt.Errorf("%q is not the ARN of an IAM role; want arn:aws:iam::ACCOUNT:role/NAME", s)
	}
	a := RoleARN{Partition: parts[1], Account: parts[4], Path: "/", Name: path}
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		a.Path, a.Name = "/"+path[:i+1], path[i+1:]
	}
	switch {
	case !partitionForm.MatchString(a.Partition):
		return RoleARN{}, fmt.Errorf("%q: %q is not an AWS partition", s, a.Partition)
	case !accountForm.MatchString(a.Account):
		return RoleARN{}, fmt.Errorf("%q: %q is not an AWS account id of 12 digits", s, a.Account)
	case !roleNameForm.MatchString(a.Name):
		return RoleARN{}, fmt.Errorf("%q: %q is not the name of an IAM role", s, a.Name)
	case len(a.Path) > 512 || !rolePathForm.MatchString(a.Path):
		return RoleARN{}, fmt.Errorf("%q: %q is not the path of an IAM role", s, a.Path)
	}
	return a, nil
}

// CheckAccount reports what is wrong with an AWS account id.
func CheckAccount(id string) error {
	if !accountForm.MatchString(id) {
		return errors.New("not an AWS account id of 12 digits")
	}
	return nil
}

// defaultRegions are where a partition's global services live. Partitions as
// in botocore's partitions.json.
var defaultRegions = map[string]string{
	"aws":        "us-east-1",
	"aws-cn":     "cn-north-1",
	"aws-us-gov": "us-gov-west-1",
	"aws-iso":    "us-iso-east-1",
	"aws-iso-b":  "us-isob-east-1",
	"aws-iso-e":  "eu-isoe-west-1",
	"aws-iso-f":  "us-isof-south-1",
	"aws-eusc":   "eusc-de-east-1",
}

// DefaultRegion is the region of a partition where nobody named one, or ""
// where the partition is not known.
func DefaultRegion(partition string) string { return defaultRegions[partition] }
