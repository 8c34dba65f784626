"""Sites: providers' places, their capacity, and how each fact about them is known."""

from sekisho.sites.actions import CONTROL_SITE as CONTROL_SITE
from sekisho.sites.actions import SiteEntities as SiteEntities
from sekisho.sites.actions import all_sites as all_sites
from sekisho.sites.actions import away_seconds as away_seconds
from sekisho.sites.actions import entity_of_site as entity_of_site
from sekisho.sites.actions import find_site as find_site
from sekisho.sites.actions import found_control_site as found_control_site
from sekisho.sites.actions import handlers as handlers
from sekisho.sites.actions import next_expiry as next_expiry
from sekisho.sites.model import Accelerator as Accelerator
from sekisho.sites.model import DrainSite as DrainSite
from sekisho.sites.model import Fact as Fact
from sekisho.sites.model import ListSites as ListSites
from sekisho.sites.model import RegisterSite as RegisterSite
from sekisho.sites.model import ReportCapabilities as ReportCapabilities
from sekisho.sites.model import ResumeSite as ResumeSite
from sekisho.sites.model import ShowSite as ShowSite
from sekisho.sites.model import SitePage as SitePage
from sekisho.sites.model import SiteView as SiteView
from sekisho.sites.model import StateFact as StateFact
from sekisho.sites.rules import platform_key_ref as platform_key_ref
from sekisho.sites.rules import site_entity as site_entity
