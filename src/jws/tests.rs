//! Documents signed here, by openssl, and unsigned.

use serde_json::json;

use super::*;
use proptest::prelude::*;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

/// Signed by `openssl dgst -sha256 -sign` with a key of RSA that is gone; `kid`
/// is of `openssl rsa -pubout -outform DER`.
const RS256: &str = r#"{
   "a": 1,
   "signatures": [{"header": {"alg": "RS256", "jwk": {"kty": "RSA", "kid": "NUJ5:2SSH:SHKW:IRVM:UBEH:345O:U4K4:XXSR:YYM5:GX2V:H5Q3:CH74", "n": "poEeK1BEO3I8sNqNlrbx2Wg9pYSCjHnEZnioCwXsbP6J7wFTFIZ1VTZ-C52RkVbCJ_tnUQFUhm6Bnr7GKavHEsLQYxVofbGkSMwwvpWklqAmha_AwznBDyM-4uacUeC81rshm6qVSw1iFtW9V_jBonyrdmg-5tsYy1P2tLu4Rjd4FRfyGJ2XOUTW29HiLnKCr_mt4IOqFOqSfIGzAUZCD6cT8B2M5NwcHf8hCa-8J-irzvJ2iPQoytLPkPyJLIINcNRaGvHl42ZOD_bvjoR8MM4TunRxS2KwUaTU2CXaY9QKWEmwrsgnNwkaAEYsdJJZjU-xbD-Zgn_j-ljhi0tIDw", "e": "AQAB"}}, "protected": "eyJmb3JtYXRMZW5ndGgiOiAxMSwgImZvcm1hdFRhaWwiOiAiQ24wIn0", "signature": "OYLwXQN_3fQzQW7Cs-IEFRUO0kk523xpCgQUn8SN2D1o9u719JB_jJ_EycSIwCFmzwzv96Zu1CA3EIRWzDW3hf1s0St24ExicLmjypAEoTDEF7b8sZ4DhuZAz9SANuKTyQ082m9oXrKW16x-wOag_3zwEgjRaiCRscf1oV_7kHfFTnUaVYFtysejjbS4aaKGaQsmnHE5E1ody0vQ0YZJ1r32IFEZZ59zcsbae-iL4gY6YDW7rWb6jONITROJ5PdGhrP0ymzBHTPeSx2cN0-40zHDW1XaAfYSk-xjkSYTM5jgnHMhVSesWmIkHSizMGS7JZwFjOxnisJa_pl3dAuFXA"}]
}"#;

fn parsed(document: &[u8]) -> Signed {
    Signed::parse(document).unwrap().unwrap()
}

fn made(payload: &[u8], keys: usize) -> (Vec<u8>, Vec<PublicKey>) {
    let keys: Vec<SigningKey> = (0..keys).map(|_| SigningKey::generate().unwrap()).collect();
    let public = keys.iter().map(|key| key.public().clone()).collect();
    (sign(payload, &keys).unwrap(), public)
}

#[test]
fn what_is_signed_comes_back_byte_for_byte() {
    for payload in [
        &b"{\n   \"a\": \"\xc3\xa9\"\n}"[..],
        b"{\"a\":1}",
        b"{\"a\": 1 }\n",
        b" {\r\n\t\"a\": {}\r\n}",
    ] {
        for count in [1, 3] {
            let (document, keys) = made(payload, count);
            let text = String::from_utf8_lossy(&document);
            assert_eq!(parsed(&document).payload(), payload, "{text}");
            assert_eq!(parsed(&document).verify().unwrap(), keys, "{text}");
        }
    }
    assert!(sign(b"{}", &[SigningKey::generate().unwrap()]).is_err());
    assert!(sign(b"[1]", &[SigningKey::generate().unwrap()]).is_err());
    assert!(sign(b"{\"a\":1}", &[]).is_err());
}

#[test]
fn the_form_is_that_of_libtrust() {
    let (document, keys) = made(b"{\n   \"a\": 1\n}", 1);
    let text = String::from_utf8(document).unwrap();
    let lead = "{\n   \"a\": 1,\n   \"signatures\": [\n      {\n         \"header\": {\n            \"jwk\": {\n               \"crv\": \"P-256\",\n               \"kid\": \"";
    assert!(
        text.starts_with(&format!("{lead}{}", keys[0].id())),
        "{text}"
    );
    assert!(text.ends_with("\n      }\n   ]\n}"), "{text}");
    let protected = text.split("\"protected\": \"").nth(1).unwrap();
    let protected = decoded(protected.split('"').next().unwrap()).unwrap();
    assert_eq!(protected, br#"{"formatLength":11,"formatTail":"Cn0"}"#);
}

#[test]
fn one_changed_byte_is_found() {
    let (document, _) = made(b"{\n   \"a\": \"one\"\n}", 1);
    let text = String::from_utf8(document).unwrap();
    for (from, to) in [("one", "two"), ("   \"a\"", "\t  \"a\"")] {
        let other = text.replace(from, to);
        let wrong = parsed(other.as_bytes()).verify().unwrap_err();
        assert!(wrong.is_corrupt(), "{other}: {wrong}");
    }
    let second = made(b"{\n   \"a\": \"one\"\n}", 1).0;
    let second = String::from_utf8(second).unwrap();
    let signature = |text: &str| text.split("\"signature\": \"").nth(1).unwrap()[..86].to_string();
    let swapped = text.replace(&signature(&text), &signature(&second));
    let wrong = parsed(swapped.as_bytes()).verify().unwrap_err();
    assert!(wrong.is_corrupt(), "{wrong}");
}

#[test]
fn what_stands_beside_the_payload_is_not_in_it() {
    let (document, _) = made(b"{\n   \"a\": 1\n}", 1);
    let text = String::from_utf8(document).unwrap();
    let more = text.replacen(",\n   \"signatures\"", ",\n   \"b\": 2, \"signatures\"", 1);
    let more = parsed(more.as_bytes());
    more.verify().unwrap();
    assert_eq!(more.payload(), b"{\n   \"a\": 1\n}");
}

#[test]
fn other_kinds_of_key_are_checked_too() {
    let signed = parsed(RS256.as_bytes());
    assert_eq!(signed.payload(), b"{\n   \"a\": 1\n}");
    let keys = signed.verify().unwrap();
    assert!(keys[0].id().starts_with("NUJ5:2SSH:"));
    assert!(
        parsed(RS256.replace("1,", "2,").as_bytes())
            .verify()
            .is_err()
    );
    let renamed = RS256.replace("NUJ5", "AAAA");
    assert!(
        parsed(renamed.as_bytes())
            .verify()
            .unwrap_err()
            .is_corrupt()
    );
    for (alg, crv) in [("ES384", "P-384"), ("ES512", "P-521"), ("HS256", "P-384")] {
        let verdict = parsed(&es384(alg, crv)).verify();
        match alg {
            "ES384" => assert_eq!(verdict.unwrap().len(), 1),
            _ => assert!(matches!(verdict, Err(Error::Unsupported { .. })), "{alg}"),
        }
    }
}

fn es384(alg: &str, crv: &str) -> Vec<u8> {
    let rng = ring::rand::SystemRandom::new();
    let curve = &ECDSA_P384_SHA384_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(curve, &rng).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(curve, pkcs8.as_ref(), &rng).unwrap();
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (x, y) = pair.public_key().as_ref()[1..].split_at(48);
    let protected = text(br#"{"formatLength":7,"formatTail":"fQ"}"#);
    let signed = format!("{protected}.{}", text(b"{\"a\": 1}"));
    let signature = pair.sign(&rng, signed.as_bytes()).unwrap();
    let block = json!({"header": {"alg": alg, "jwk": {"kty": "EC", "crv": crv, "x": text(x), "y": text(y)}},
        "protected": protected, "signature": text(signature.as_ref())});
    format!("{{\"a\": 1,\"signatures\": [{block}]}}").into_bytes()
}

#[test]
fn signatures_that_make_no_sense_are_told_from_none() {
    for none in ["{}", r#"{"signatures": null}"#, r#"{"signatures": []}"#] {
        assert!(Signed::parse(none.as_bytes()).unwrap().is_none(), "{none}");
    }
    let block = |protected: &str| {
        let protected = URL_SAFE_NO_PAD.encode(protected);
        format!(r#"{{"header":{{"alg":"ES256"}},"protected":"{protected}","signature":"AA"}}"#)
    };
    let (a, b) = (
        block(r#"{"formatLength":1,"formatTail":"fQ"}"#),
        block(r#"{"formatLength":2,"formatTail":"fQ"}"#),
    );
    for wrong in [
        "7".to_string(),
        "[7]".to_string(),
        "[{}]".to_string(),
        format!("[{}]", block("{}")),
        format!("[{}]", block(r#"{"formatLength":-1,"formatTail":""}"#)),
        format!(
            "[{}]",
            block(r#"{"formatLength":99999999,"formatTail":""}"#)
        ),
        format!("[{}]", block(r#"{"formatLength":1,"formatTail":"§"}"#)),
        format!("[{a},{b}]"),
        format!("[{}]", vec![a.as_str(); MAX_SIGNATURES + 1].join(",")),
        format!("[{a}],\"signatures\":[{b}]"),
    ] {
        let document = format!("{{\"signatures\":{wrong}}}");
        let failed = Signed::parse(document.as_bytes()).unwrap_err();
        assert!(failed.is_corrupt(), "{document}: {failed}");
    }
    let keyless = format!("{{\"signatures\":[{a}]}}");
    let failed = parsed(keyless.as_bytes()).verify().unwrap_err();
    assert!(failed.to_string().contains("jwk"), "{failed}");
}

#[test]
fn keys_are_p256_in_pem_and_never_shown() {
    for (text, why) in [
        ("", "not a private key"),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "P-256",
        ),
        (
            "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n",
            "P-256",
        ),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
            "RSA",
        ),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n", "encrypted"),
        (
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "not a private key",
        ),
    ] {
        let said = SigningKey::from_pem(text).unwrap_err().to_string();
        assert!(said.contains(why) && !said.contains("AAAA"), "{said}");
    }
    let key = SigningKey::generate().unwrap();
    assert_eq!(
        format!("{key:?}"),
        format!("SigningKey({})", key.public().id())
    );
    assert_eq!(key.public().id().len(), 12 * 4 + 11);
}

proptest! {
    #[test]
    fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60), at in 0usize..400, to in any::<u8>()) {
        let _ = Signed::parse(&bytes);
        let mut document = RS256.as_bytes().to_vec();
        let place = document.len() * at / 400;
        document[place] = to;
        if let Ok(Some(signed)) = Signed::parse(&document) {
            let _ = signed.verify();
        }
        let _ = SigningKey::from_pem(&String::from_utf8_lossy(&bytes));
    }
}
