package joining

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
)

// ChallengeHeader is the signed header that answers a challenge.
const ChallengeHeader = "X-Postern-Challenge"

// CallerIdentityBody is the body of the signed request
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html).
const CallerIdentityBody = "Action=GetCallerIdentity&Version=2011-06-15"

const formType = "application/x-www-form-urlencoded; charset=utf-8"

// NewCallerIdentity makes the request that a service signs and a broker sends:
// both make it themselves, so that host, method, path and body are nobody's to
// choose.
func NewCallerIdentity(ctx context.Context, region string) (*http.Request, error) {
	host, err := stsHost(region)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+host+"/", strings.NewReader(CallerIdentityBody))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", formType)
	return req, nil
}

// regionForm is a region's, and partitions the DNS suffixes by how regions
// begin (https://docs.aws.amazon.com/general/latest/gr/sts.html; partitions.json
// of the AWS SDKs).
var (
	regionForm = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]{2,5})?-[a-z]+-[0-9]{1,2}$`)
	partitions = []struct{ region, suffix string }{
		{"cn-", "amazonaws.com.cn"},
		{"us-iso-", "c2s.ic.gov"},
		{"us-isob-", "sc2s.sgov.gov"},
		{"us-isof-", "csp.hci.ic.gov"},
		{"eu-isoe-", "cloud.adc-e.uk"},
		{"eusc-", "amazonaws.eu"},
	}
)

func stsHost(region string) (string, error) {
	if !regionForm.MatchString(region) {
		return "", fmt.Errorf("%q is not an AWS region", region)
	}
	suffix := "amazonaws.com"
	for _, p := range partitions {
		if strings.HasPrefix(region, p.region) {
			suffix = p.suffix
		}
	}
	return "sts." + region + "." + suffix, nil
}

// The headers that a service may send along, and where they say what is signed
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
var (
	signedHeaders = []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token", ChallengeHeader}
	authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=[A-Za-z0-9/_-]+, ?SignedHeaders=([a-z0-9;-]+), ?Signature=[0-9a-f]{64}$`)
)

// IAM asks STS who signed.
type IAM struct {
	// Client reaches STS; it follows no redirect.
	Client *http.Client
}

const stsTimeout = 10 * time.Second

// Verify sends the signed request to STS of its region and returns whom STS
// names. bound is what [Bind] made of the challenge.
func (v IAM) Verify(ctx context.Context, in api.JoinIAM, bound string) (access.Proof, error) {
	ctx, cancel := context.WithTimeout(ctx, stsTimeout)
	defer cancel()
	req, err := NewCallerIdentity(ctx, in.Region)
	if err != nil {
		return access.Proof{}, err
	}
	for name, value := range in.Headers {
		if !slices.Contains(signedHeaders, http.CanonicalHeaderKey(name)) {
			return access.Proof{}, fmt.Errorf("header %s has no place in it", name)
		}
		req.Header.Set(name, value)
	}
	if req.Header.Get(ChallengeHeader) != bound {
		return access.Proof{}, errors.New("it answers another challenge, or was signed for another key")
	}
	signed := authorization.FindStringSubmatch(req.Header.Get("Authorization"))
	if signed == nil {
		return access.Proof{}, errors.New("its Authorization header is not Signature Version 4's")
	}
	for _, must := range []string{"host", strings.ToLower(ChallengeHeader)} {
		if !slices.Contains(strings.Split(signed[1], ";"), must) {
			return access.Proof{}, fmt.Errorf("its signature leaves %s out", must)
		}
	}
	resp, err := v.Client.Do(req)
	if err != nil {
		return access.Proof{}, fmt.Errorf("ask STS: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return access.Proof{}, fmt.Errorf("ask STS: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return access.Proof{}, stsRefusal(resp.Status, body)
	}
	var who struct {
		XMLName xml.Name `xml:"GetCallerIdentityResponse"`
		ARN     string   `xml:"GetCallerIdentityResult>Arn"`
		Account string   `xml:"GetCallerIdentityResult>Account"`
	}
	if err := xml.Unmarshal(body, &who); err != nil || who.ARN == "" || who.Account == "" {
		return access.Proof{}, fmt.Errorf("ask STS: its answer names nobody (%v)", err)
	}
	return access.Proof{Method: access.MethodIAM, Account: who.Account, ARN: who.ARN}, nil
}

// stsRefusal says why STS did not answer.
func stsRefusal(status string, body []byte) error {
	var refused struct {
		Code    string `xml:"Error>Code"`
		Message string `xml:"Error>Message"`
	}
	if xml.Unmarshal(body, &refused) == nil && refused.Code != "" {
		return fmt.Errorf("STS refuses the signed request: %s: %s", refused.Code, refused.Message)
	}
	return fmt.Errorf("STS answers %s", status)
}
