package correlate

// readsByCloudTrail are operations that IAM counts as Write, and whose records CloudTrail
// marks readOnly, so that trails take them where they take reads
// (https://docs.aws.amazon.com/kms/latest/developerguide/understanding-kms-entries.html,
// https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html).
var readsByCloudTrail = map[string]map[string]bool{
	"kms": {
		"Decrypt": true, "DeriveSharedSecret": true, "Encrypt": true, "GenerateDataKey": true, "GenerateDataKeyPair": true,
		"GenerateDataKeyPairWithoutPlaintext": true, "GenerateDataKeyWithoutPlaintext": true, "GenerateMac": true,
		"GenerateRandom": true, "ReEncrypt": true, "Sign": true, "Verify": true, "VerifyMac": true,
	},
	"sts": {"AssumeRole": true, "AssumeRoleWithSAML": true, "AssumeRoleWithWebIdentity": true},
}

// ReadOnly says what CloudTrail's readOnly is of an operation that has an access level of
// IAM; both by the names that requests have.
func ReadOnly(service, operation, level string) bool {
	return level == "Read" || level == "List" || readsByCloudTrail[service][operation]
}
