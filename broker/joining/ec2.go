package joining

import (
	"crypto/x509"
	"embed"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/smallstep/pkcs7"

	"github.com/posternhq/postern/broker/access"
)

// DefaultEC2Age is how old an instance may be when it joins.
const DefaultEC2Age = 5 * time.Minute

// regional are the certificates by which AWS signs identity documents, a file a region, as
// AWS publishes them (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/regions-certs.html,
// "RSA-2048"). All but two are byte for byte those of AWS's own repository of that guide
// (github.com/awsdocs/amazon-ec2-user-guide, d289961, doc_source/verify-rsa2048.md); of
// ca-west-1 and il-central-1, which are younger, two independent copies of the page agree.
//
//go:embed ec2/*.pem
var regional embed.FS

// EC2 verifies identity documents of EC2 instances.
type EC2 struct {
	// Certificates are those by which AWS signs, in place of what it publishes for the
	// region that a document names.
	Certificates []*x509.Certificate
	// MaxAge of the instance; 0 is DefaultEC2Age.
	MaxAge time.Duration
}

// clockSkew is how far AWS's clock may be ahead of ours.
const clockSkew = time.Minute

// Verify reads the document out of its PKCS #7 signature in base64, as IMDS
// serves it under instance-identity/rsa2048.
func (v EC2) Verify(signature string, now time.Time) (access.Proof, error) {
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(signature), ""))
	if err != nil {
		return access.Proof{}, errors.New("the signature is not base64")
	}
	p7, err := pkcs7.Parse(der)
	if err != nil {
		return access.Proof{}, fmt.Errorf("the signature: %w", err)
	}
	if len(p7.Signers) != 1 {
		return access.Proof{}, fmt.Errorf("the signature has %d signers, not one", len(p7.Signers))
	}
	var doc struct {
		AccountID   string    `json:"accountId"`
		InstanceID  string    `json:"instanceId"`
		Region      string    `json:"region"`
		PendingTime time.Time `json:"pendingTime"`
	}
	if err := json.Unmarshal(p7.Content, &doc); err != nil {
		return access.Proof{}, fmt.Errorf("the document: %w", err)
	}
	// Only AWS's certificates count, whatever came along.
	if p7.Certificates = v.Certificates; len(v.Certificates) == 0 {
		if p7.Certificates, err = Published(doc.Region); err != nil {
			return access.Proof{}, err
		}
	}
	if err := p7.Verify(); err != nil {
		return access.Proof{}, fmt.Errorf("the signature is of none of the known certificates of AWS: %w", err)
	}
	if doc.AccountID == "" || doc.InstanceID == "" || doc.PendingTime.IsZero() {
		return access.Proof{}, errors.New("the document names no account, instance or time")
	}
	limit := v.MaxAge
	if limit == 0 {
		limit = DefaultEC2Age
	}
	age := now.Sub(doc.PendingTime)
	if age > limit || age < -clockSkew {
		return access.Proof{}, fmt.Errorf("the instance started %s, %s ago; it may join for %s", doc.PendingTime.UTC().Format(time.RFC3339), age.Round(time.Second), limit)
	}
	return access.Proof{Method: access.MethodEC2, Account: doc.AccountID, Region: doc.Region, Instance: doc.InstanceID}, nil
}

// Published returns the certificates that AWS publishes for a region.
func Published(region string) ([]*x509.Certificate, error) {
	text, err := regional.ReadFile("ec2/" + region + ".pem")
	if err != nil {
		return nil, fmt.Errorf("this broker knows no certificate by which AWS signs in region %q: name one in broker.ec2_certificates", region)
	}
	return ParseCertificates(text)
}

// ParseCertificates reads the certificates of a PEM file.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, errors.New("no certificate in it")
	}
	return out, nil
}
