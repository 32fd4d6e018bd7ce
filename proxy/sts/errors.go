package sts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/posternhq/postern/events"
)

// Error says why there are no credentials, for the person who asked and for the
// operator. It holds no secret.
type Error struct {
	Reason string
	// Temporary: trying again may help without anybody changing anything.
	Temporary bool
	err       error
}

func (e *Error) Error() string { return e.Reason }

// Unwrap gives the SDK's error.
func (e *Error) Unwrap() error { return e.err }

// explain turns an error of AssumeRole into one that names the principal, the
// role, and where to look.
func (h *Holder) explain(ctx context.Context, client *awssts.Client, own aws.Credentials, s *events.SessionStarted, err error) *Error {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return &Error{Temporary: true, err: err, Reason: fmt.Sprintf("AWS STS could not be reached to assume %s: %s", s.AWSRoleARN, cause(err)) + Advice(err)}
	}
	e := &Error{err: err}
	switch code := api.ErrorCode(); code {
	case "AccessDenied", "AccessDeniedException":
		e.Reason = refusal(h.whoami(ctx, client, own), s)
	case "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch":
		e.Reason = fmt.Sprintf("AWS STS does not accept the credentials that this proxy runs with (access key %s, from %s): %s: %s; renew them where they come from",
			own.AccessKeyID, own.Source, code, api.ErrorMessage())
	case "RegionDisabledException":
		e.Reason = fmt.Sprintf("AWS STS is not active in region %s for this account: activate it under IAM, Account settings, or give the app another region", s.Region)
	case "PackedPolicyTooLarge", "PackedPolicyTooLargeException":
		e.Reason = fmt.Sprintf("the session tags for %s are larger than AWS STS takes: turn session_tags off for app %s or shorten the names", s.AWSRoleARN, s.App)
	case "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException", "InternalFailure", "ServiceUnavailable", "InternalError":
		e.Temporary = true
		e.Reason = fmt.Sprintf("AWS STS is too busy to assume %s: %s", s.AWSRoleARN, code)
	default:
		e.Reason = fmt.Sprintf("AWS STS refused to assume %s: %s: %s", s.AWSRoleARN, code, api.ErrorMessage())
		e.Temporary = api.ErrorFault() == smithy.FaultServer
	}
	return e
}

// refusal says what a trust policy has to have.
func refusal(self string, s *events.SessionStarted) string {
	needs := []string{"sts:AssumeRole"}
	if s.SourceIdentity != "" {
		needs = append(needs, "sts:SetSourceIdentity")
	}
	if len(s.SessionTags) > 0 {
		needs = append(needs, "sts:TagSession")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "AWS refused %s, which this proxy runs as, to assume %s. Look at the trust policy of that role: it must allow %s to %s",
		self, s.AWSRoleARN, strings.Join(needs, ", "), principal(self))
	if s.ExternalID != "" {
		fmt.Fprintf(&b, ", with the external id of app %s", s.App)
	}
	b.WriteString(". The policy of the principal itself must allow sts:AssumeRole on the role, which must exist")
	return b.String()
}

// principal is the ARN that a trust policy names: of an assumed role, the role.
func principal(self string) string {
	a, err := arn.Parse(self)
	if err != nil || a.Service != "sts" {
		return self
	}
	if p := strings.Split(a.Resource, "/"); len(p) == 3 && p[0] == "assumed-role" {
		a.Service, a.Resource = "iam", "role/"+p[1]
		return a.String()
	}
	return self
}

// noCredentials says what was tried, in the SDK for Go's order, in which a web identity of
// the environment goes before files
// (https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html).
func noCredentials(err error) *Error {
	set := func(names ...string) string {
		for _, n := range names {
			if os.Getenv(n) != "" {
				return n + " is set"
			}
		}
		return names[0] + " is not set"
	}
	profile := cmp.Or(os.Getenv("AWS_PROFILE"), os.Getenv("AWS_DEFAULT_PROFILE"), "default")
	files := cmp.Or(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), "~/.aws/credentials") + " and " + cmp.Or(os.Getenv("AWS_CONFIG_FILE"), "~/.aws/config")
	imds := "instance metadata (IMDSv2)"
	if strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		imds += ", which AWS_EC2_METADATA_DISABLED turns off"
	}
	msg := fmt.Sprintf("this proxy found no AWS credentials of its own. Tried in this order: environment (%s), web identity (%s), shared files (profile %q in %s), container (%s), %s. The last one said: %s",
		set("AWS_ACCESS_KEY_ID"), set("AWS_WEB_IDENTITY_TOKEN_FILE"), profile, files,
		set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"), imds, cause(err))
	if inContainer() {
		msg += ". In a container on EC2 the hop limit of the metadata service must be at least 2: aws ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2"
	}
	return &Error{Reason: msg, err: err}
}

func inContainer() bool {
	for _, f := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(f); err == nil {
			return true
		}
	}
	return os.Getenv("KUBERNETES_SERVICE_HOST") != "" || os.Getenv("container") != ""
}

// cause is the innermost error's text: the SDK's own wrapping tells the reader
// nothing.
func cause(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}
