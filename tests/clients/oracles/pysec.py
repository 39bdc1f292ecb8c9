"""PyPI sap-xssec: verifies each token of the corpus on standard input, at the time of the corpus."""

import json
import logging
import sys
from datetime import datetime

import jwt.api_jwt
from sap import xssec

corpus = json.load(sys.stdin)
logging.disable(logging.CRITICAL)


class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.fromtimestamp(corpus["now"], tz)


jwt.api_jwt.datetime = Clock


def verify(token):
    try:
        context = xssec.create_security_context_xsuaa(token, corpus["binding"])
        return {"accepted": True, "scope": context.check_scope("$XSAPPNAME." + corpus["scope"])}
    except Exception as error:  # pylint: disable=broad-except
        return {"accepted": False, "why": f"{type(error).__name__}: {error}"[:200]}


print(json.dumps([verify(token) for token in corpus["tokens"]]))
