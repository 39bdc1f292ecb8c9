"""PyPI sap-xssec: judges each token of the corpus that comes on standard input, at the corpus's own time."""

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


def judge(token):
    try:
        context = xssec.create_security_context_xsuaa(token, corpus["binding"])
        return {"accepted": True, "scope": context.check_scope("$XSAPPNAME." + corpus["scope"])}
    except Exception as error:  # pylint: disable=broad-except
        return {"accepted": False, "why": f"{type(error).__name__}: {error}"[:200]}


print(json.dumps([judge(token) for token in corpus["tokens"]]))
