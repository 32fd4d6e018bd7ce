package access

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

// maxName bounds names, in bytes.
const maxName = 128

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+=-]{0,127}$`)

// checkName is for the names that operators choose: they stand in commands
// and subjects as they are.
func checkName(s string) error {
	if !nameForm.MatchString(s) {
		return fmt.Errorf("%q is not a name: want letters, digits and . _ @ + = -, %d at most, a letter or digit first", s, maxName)
	}
	return nil
}

// CheckUserName reports what is wrong with a user's name. Identity providers
// choose these: anything printable without spaces and slashes goes.
func CheckUserName(s string) error {
	switch {
	case s == "":
		return errors.New("a user needs a name")
	case len(s) > maxName:
		return fmt.Errorf("a user's name has %d bytes at most", maxName)
	case !utf8.ValidString(s):
		return errors.New("a user's name must be UTF-8")
	case strings.HasPrefix(s, "-"):
		return errors.New("a user's name cannot begin with -")
	}
	for _, r := range s {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) || r == '/' {
			return fmt.Errorf("%q is not a user's name: no spaces, slashes or control characters", s)
		}
	}
	return nil
}

// CheckNewUserName is CheckUserName for users that are yet to be made: some names stand for
// something else in addresses, questions and the record.
func CheckNewUserName(s string) error {
	if slices.Contains([]string{".", "..", "*", "postern"}, s) {
		return fmt.Errorf("%q is not for users: it stands for something else", s)
	}
	return CheckUserName(s)
}

// check collects faults.
type check []policy.Fault

func (c *check) that(path string, err error) {
	if err != nil {
		*c = append(*c, policy.Fault{Path: path, Err: err})
	}
}

// CheckUser returns what is wrong with a user, by the paths of its YAML.
func CheckUser(u events.User) []policy.Fault {
	var c check
	c.that("metadata.name", CheckUserName(u.Name))
	for i, r := range u.Roles {
		c.that(fmt.Sprintf("spec.roles[%d]", i), checkName(r))
		if slices.Contains(u.Roles[:i], r) {
			c.that(fmt.Sprintf("spec.roles[%d]", i), fmt.Errorf("%s stands there twice", r))
		}
	}
	c.traits("spec.traits", u.Traits)
	return c
}

// noTrait is what no trait's name holds: no template could name it. Claims and attributes
// of such names are left out of what a provider says.
const noTrait = "\"{}()[] \t\n"

// maxTrait bounds a trait's value, in bytes.
const maxTrait = 2048

// traits checks names and values of traits.
func (c *check) traits(path string, traits map[string][]string) {
	for _, name := range slices.Sorted(maps.Keys(traits)) {
		if name == "" || strings.ContainsAny(name, noTrait) {
			c.that(path, fmt.Errorf("%q is not a trait's name", name))
		}
		for i, v := range traits[name] {
			at := fmt.Sprintf("%s.%s[%d]", path, name, i)
			if len(v) > maxTrait {
				c.that(at, fmt.Errorf("longer than %d bytes", maxTrait))
			}
			if name == "aws_role_arns" {
				_, err := policy.ParseRoleARN(v)
				c.that(at, err)
			}
		}
	}
}

// CheckRole returns what is wrong with a role, by the paths of its YAML.
func CheckRole(r events.Role) []policy.Fault {
	var c check
	c.that("metadata.name", checkName(r.Name))
	_, faults := policy.Compile(r, 0)
	return append(c, faults...)
}

// STS's external id: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
var (
	externalIDForm = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`) // 1224 at most
	regionForm     = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$`)
	partitionForm  = regexp.MustCompile(`^aws(-[a-z]+)*$`)
)

// CheckApp returns what is wrong with an app, by the paths of its YAML.
func CheckApp(a events.App) []policy.Fault {
	var c check
	c.that("metadata.name", checkName(a.Name))
	if a.AccountID != "" {
		c.that("spec.aws.account_id", policy.CheckAccount(a.AccountID))
	}
	if a.Partition != "" && !partitionForm.MatchString(a.Partition) {
		c.that("spec.aws.partition", fmt.Errorf("%q is not an AWS partition", a.Partition))
	}
	if a.Region != "" && !regionForm.MatchString(a.Region) {
		c.that("spec.aws.region", fmt.Errorf("%q is not an AWS region", a.Region))
	}
	if a.ExternalID != "" && (len(a.ExternalID) > 1224 || !externalIDForm.MatchString(a.ExternalID)) {
		c.that("spec.aws.external_id", errors.New("not an external id that STS accepts: 2 to 1224 of letters, digits and _+=,.@:/-"))
	}
	for i, s := range a.RoleARNs {
		at := fmt.Sprintf("spec.aws.role_arns[%d]", i)
		arn, err := policy.ParseRoleARN(s)
		c.that(at, err)
		switch {
		case err != nil:
		case a.AccountID != "" && arn.Account != a.AccountID:
			c.that(at, fmt.Errorf("account %s is not the app's account %s", arn.Account, a.AccountID))
		case a.Partition != "" && arn.Partition != a.Partition:
			c.that(at, fmt.Errorf("partition %s is not the app's partition %s", arn.Partition, a.Partition))
		case a.Region == "" && policy.DefaultRegion(arn.Partition) == "":
			c.that(at, fmt.Errorf("partition %s has no region of its own here: set spec.aws.region", arn.Partition))
		case slices.Contains(a.RoleARNs[:i], s):
			c.that(at, fmt.Errorf("%s stands there twice", s))
		}
	}
	return c
}

// LockKinds lists what a lock can stop.
func LockKinds() []string {
	return []string{"user", "role", "session", "app", "aws_role", "account", "request", "agent", "device"}
}

// CheckLockTarget reports what is wrong with a lock's target.
func CheckLockTarget(t events.LockTarget) error {
	switch {
	case !slices.Contains(LockKinds(), t.Kind):
		return fmt.Errorf("%q is not a kind of target; want one of %s", t.Kind, strings.Join(LockKinds(), ", "))
	case t.Name == "":
		return fmt.Errorf("the %s to lock has no name", t.Kind)
	case t.Kind == "aws_role":
		_, err := policy.ParseRoleARN(t.Name)
		return err
	case t.Kind == "account":
		if err := policy.CheckAccount(t.Name); err != nil {
			return fmt.Errorf("%q: %w", t.Name, err)
		}
	case len(t.Name) > 1024:
		return errors.New("the target's name is longer than 1024 bytes")
	}
	return nil
}
