"""PyPI cloudfoundry-client: a tenant's route from creation to deletion. Only URL and token are given."""

import json
import os

from cloudfoundry_client.client import CloudFoundryClient
from cloudfoundry_client.errors import InvalidStatusCode

client = CloudFoundryClient(os.environ["URL"])
client._access_token = os.environ["TOKEN"]

followed = []
get = client.get


def record(url, *args, **kwargs):
    followed.append(url)
    return get(url, *args, **kwargs)


client.get = record

spaces = [space["name"] for space in client.v3.spaces.list(per_page=1)]
app = client.v3.apps.get_first(names=os.environ["APP"])
space = client.v3.spaces.get(app["relationships"]["space"]["data"]["guid"])
domain = client.v3.domains.get_first(names=os.environ["DOMAIN"])

host = "python-" + app["name"]
route = client.v3.routes.create(space["guid"], domain["guid"], host)
try:
    client.v3.routes.create(space["guid"], domain["guid"], host)
    again = None
except InvalidStatusCode as refusal:
    again = [refusal.status_code, refusal.body]

# The package has no call for this, so its HTTP client follows the link of the route.
mapped = client.post(route["links"]["destinations"]["href"], json={"destinations": [{"app": {"guid": app["guid"]}}]})
found = [one["guid"] for one in client.v3.routes.list(hosts=host, per_page=1)]
destinations = route.destinations()["destinations"]
space_of_route = route.space()["name"]

job = client.v3.routes.remove(route["guid"])
state = client.v3.jobs.wait_for_job_completion(job)["state"]
left = client.v3.routes.len(hosts=host)

print(json.dumps({
    "spaces": spaces, "route": route["guid"], "again": again, "mapped": mapped.status_code, "found": found,
    "destinations": [one["app"]["guid"] == app["guid"] for one in destinations], "space": space_of_route,
    "job": state, "left": left, "followed": followed,
}))
